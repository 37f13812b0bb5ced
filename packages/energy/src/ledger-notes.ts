import { open, readFile } from 'node:fs/promises'
import { join } from 'node:path'

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

/** Notes of a ledger's folder, oldest first; a line that a crash cut short is left out. */
export async function readNotes(directory: string): Promise<readonly LedgerNote[]> {
  const text = await readFile(join(directory, fileName), 'utf8').catch(() => '')
  return text.split('\n').flatMap((line) => {
    try {
      return line === '' ? [] : [JSON.parse(line) as LedgerNote]
    } catch {
      return []
    }
  })
}
