import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SwiftError } from '@swift/spec'

/** Something a program wrote beside the balances: why a run stopped, that power was limited. */
export interface LedgerNote {
  /** Milliseconds since the epoch. */
  readonly unixMs: number
  readonly code: string
  readonly message: string
}

const fileName = 'notes.jsonl'

/** Adds a note to a ledger's folder and waits until it is on disk. */
export async function appendNote(directory: string, note: LedgerNote): Promise<void> {
  const handle = await open(join(directory, fileName), 'a')
  try {
    await handle.appendFile(`${JSON.stringify(note)}\n`)
    await handle.datasync()
  } finally {
    await handle.close()
  }
}

/** A line as a note; `undefined` for one that a crash cut short, or that is something else. */
function parseNote(line: string): LedgerNote | undefined {
  try {
    const { unixMs, code, message } = (JSON.parse(line) ?? {}) as Partial<Record<keyof LedgerNote, unknown>>
    if (typeof unixMs !== 'number' || typeof code !== 'string' || typeof message !== 'string') return undefined
    return { unixMs, code, message }
  } catch {
    return undefined
  }
}

/**
 * Notes of a ledger's folder, oldest first; a line that a crash cut short is left out.
 * @throws `ERR_LEDGER_IO` for a file that is there and cannot be read
 */
export async function readNotes(directory: string): Promise<readonly LedgerNote[]> {
  const path = join(directory, fileName)
  try {
    const text = await readFile(path, 'utf8')
    return text.split('\n').flatMap((line) => parseNote(line) ?? [])
  } catch (cause) {
    const code = (cause as NodeJS.ErrnoException).code ?? String(cause)
    if (code === 'ENOENT' || code === 'ENOTDIR') return []
    throw new SwiftError({
      code: 'ERR_LEDGER_IO',
      asked: `The notes ${path} of an energy ledger`,
      found: `the operating system said ${code}`,
      remedy: 'Make the file readable, or move it away',
      cause,
    })
  }
}
