import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { readWorkspace } from './boundaries/workspace.ts'
import { repositoryRoot } from './repository-root.ts'

/** Every file path that an `exports` value or a `bin` map names. */
function pathsOf(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  if (value === null || typeof value !== 'object') return []
  return Object.values(value).flatMap(pathsOf)
}

/** Says which files a published package would promise without having them. Returns the exit status. */
export async function checkBuiltFiles(): Promise<number> {
  const missing = readWorkspace(repositoryRoot).flatMap(({ folder, manifest }) =>
    [...pathsOf(manifest.publishConfig?.exports ?? manifest.exports), ...pathsOf(manifest.bin)]
      .filter((path) => !existsSync(join(repositoryRoot, folder, path)))
      .map((path) => `${manifest.name}: package.json names ${path}, which the build did not make`),
  )
  for (const line of missing) console.error(line)
  return missing.length === 0 ? 0 : 1
}
