import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { listFiles, isTestFile } from './source-files.ts'
import type { WorkspacePackage } from './workspace.ts'

const maximumExportPaths = 2
/** Crates that must build and test without Node. */
const nodeFreeCrates = ['kernels', 'meter', 'text']

function checkPackage(root: string, { folder, manifest }: WorkspacePackage): string[] {
  const problems: string[] = []
  for (const [field, map] of [
    ['exports', manifest.exports],
    ['publishConfig.exports', manifest.publishConfig?.exports],
  ] as const) {
    const paths = Object.keys(map ?? {}).filter((path) => path !== './package.json')
    if (paths.length > maximumExportPaths) {
      problems.push(`${folder}/package.json: ${field} has ${paths.length} paths, at most ${maximumExportPaths} may be`)
    }
  }
  if (manifest.name === '@swift/spec' && Object.keys(manifest.dependencies ?? {}).length > 0) {
    problems.push(`${folder}/package.json: @swift/spec may have no dependencies`)
  }
  for (const name of ['@swift/testing', 'vitest']) {
    if (manifest.dependencies?.[name]) problems.push(`${folder}/package.json: ${name} may only be a dev dependency`)
  }
  if (manifest.name.startsWith('@swift/plugin-') && !manifest.peerDependencies?.['@swift/spec']) {
    problems.push(`${folder}/package.json: a plugin names @swift/spec as its peer dependency`)
  }
  if (manifest.swift?.bundle === true) problems.push(...checkBundle(root, folder))
  return problems
}

/** A bundle combines what other plugins provide; behaviour of its own belongs into one of them. */
function checkBundle(root: string, folder: string): string[] {
  return listFiles(root, `${folder}/src`, ['.ts', '.tsx'])
    .filter((path) => !isTestFile(path))
    .filter((path) => /\b(function|class)\b|=>/.test(withoutComments(readFileSync(join(root, path), 'utf8'))))
    .map((path) => `${path}: a bundle only re-exports and combines; this file declares a function or class`)
}

function withoutComments(text: string): string {
  return text.replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '')
}

function checkCrate(root: string, crate: string): string[] {
  const path = `native/kernels/${crate}/Cargo.toml`
  if (!existsSync(join(root, path))) return []
  const napi = /^\s*(napi[\w-]*)\s*[.=]/m.exec(readFileSync(join(root, path), 'utf8'))
  return napi ? [`${path}: depends on ${napi[1]}; only the crate \`node\` may know of Node`] : []
}

/** Problems with package.json files and Cargo manifests. */
export function checkManifests(root: string, workspace: readonly WorkspacePackage[]): string[] {
  return [
    ...workspace.flatMap((owner) => checkPackage(root, owner)),
    ...nodeFreeCrates.flatMap((crate) => checkCrate(root, crate)),
  ]
}
