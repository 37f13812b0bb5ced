import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

/** The part of a package.json that the checks read. */
export interface Manifest {
  readonly name: string
  readonly exports?: Readonly<Record<string, unknown>>
  readonly bin?: Readonly<Record<string, string>>
  readonly publishConfig?: { readonly exports?: Readonly<Record<string, unknown>> }
  readonly dependencies?: Readonly<Record<string, string>>
  readonly peerDependencies?: Readonly<Record<string, string>>
  readonly devDependencies?: Readonly<Record<string, string>>
  /**
   * Ours: `bundle` marks a plugin that only combines other plugins; `bundledSource` is a folder whose imports the build
   * puts into the package, so that whoever installs it does not need them.
   */
  readonly swift?: { readonly bundle?: boolean; readonly bundledSource?: string }
}

export interface WorkspacePackage {
  /** Relative to the repository root, with forward slashes. */
  readonly folder: string
  readonly manifest: Manifest
}

const parents = ['packages', 'plugins', 'native/kernels']

/** The packages under `root`, in the order of their folders. */
export function readWorkspace(root: string): WorkspacePackage[] {
  return parents
    .filter((parent) => existsSync(join(root, parent)))
    .flatMap((parent) =>
      readdirSync(join(root, parent))
        .toSorted()
        .map((name) => `${parent}/${name}`),
    )
    .filter((folder) => existsSync(join(root, folder, 'package.json')))
    .map((folder) => ({
      folder,
      manifest: JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8')) as Manifest,
    }))
}
