import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { TestContext } from 'vitest'

const folder = process.env['SWIFT_SHARED_DATA'] ?? fileURLToPath(new URL('../../shared/data', import.meta.url))

/**
 * Path of a file that the project does not ship (real tokenizers, models and texts); where it is absent the test is
 * skipped with the reason.
 */
export function sharedFile(context: TestContext, ...parts: readonly string[]): string {
  const path = join(folder, ...parts)
  if (!existsSync(path))
    context.skip(`needs ${parts.join('/')} of the shared test data; set SWIFT_SHARED_DATA to its folder`)
  return path
}
