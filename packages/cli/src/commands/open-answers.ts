import { open, writeFile } from 'node:fs/promises'
import { SwiftError } from '@swift/spec'
import { printLine } from '../output/output.ts'

function writeError(path: string, cause: unknown, found: string): SwiftError {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause)
  const isFull = code === 'ENOSPC' || code === 'EDQUOT'
  return new SwiftError({
    code: isFull ? 'ERR_DISK_FULL' : 'ERR_FILE_WRITE',
    asked: `Answers in ${path}`,
    found: `the operating system said ${code}${found}`,
    remedy: isFull ? 'Free some space or write elsewhere' : 'Check the folder and its permissions',
    cause,
  })
}

/**
 * Makes sure that a file can be written before there are answers to lose.
 * @returns writes the answers, one JSON object per line; where that fails they go to standard output
 * @throws `ERR_FILE_WRITE`, `ERR_DISK_FULL`
 */
export async function openAnswers(path: string): Promise<(rows: readonly object[]) => Promise<void>> {
  try {
    await (await open(path, 'a')).close()
  } catch (cause) {
    throw writeError(path, cause, '')
  }
  return async (rows) => {
    const lines = rows.map((row) => JSON.stringify(row))
    try {
      await writeFile(path, `${lines.join('\n')}\n`)
    } catch (cause) {
      for (const line of lines) printLine(line)
      throw writeError(path, cause, '; the answers are on standard output')
    }
  }
}
