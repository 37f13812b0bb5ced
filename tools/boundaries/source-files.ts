import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

const skippedFolders = new Set([
  'node_modules',
  'dist',
  'target',
  '.toolchain',
  '.venv',
  '.nx',
  '.git',
  '.cache',
  'runs',
  'api',
])

function byName(first: { readonly name: string }, second: { readonly name: string }): number {
  return first.name < second.name ? -1 : 1
}

/** Paths below `folder` (relative to `root`, forward slashes) whose name ends in one of `extensions`. */
export function listFiles(root: string, folder: string, extensions: readonly string[]): string[] {
  if (!existsSync(join(root, folder))) return []
  return readdirSync(join(root, folder), { withFileTypes: true })
    .toSorted(byName)
    .flatMap((entry) => {
      const path = folder === '.' ? entry.name : `${folder}/${entry.name}`
      if (entry.isDirectory()) return skippedFolders.has(entry.name) ? [] : listFiles(root, path, extensions)
      return extensions.some((extension) => entry.name.endsWith(extension)) ? [path] : []
    })
}

/** Tests and what only they use; these may import development dependencies. */
export function isTestFile(path: string): boolean {
  return /\.(test|test-d|case|bench)\.tsx?$/.test(path) || /\/(__fixtures__|test-support)\//.test(path)
}
