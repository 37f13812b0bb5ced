import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { RunProblem } from '../run-data.ts'
import { asObject, asText } from './json-value.ts'

/**
 * What a run wrote beside its ledger, in `notes.jsonl`: why it stopped, that a budget was spent. A line that a crash cut
 * short is left out.
 */
export async function readNotes(ledgerFolder: string): Promise<readonly RunProblem[]> {
  const text = await readFile(join(ledgerFolder, 'notes.jsonl'), 'utf8').catch(() => '')
  return text.split('\n').flatMap((line) => {
    try {
      const note = asObject(JSON.parse(line))
      const [code, found] = [asText(note?.['code']), asText(note?.['message'])]
      if (code === undefined || found === undefined) return []
      return [{ severity: 'note' as const, code, found, remedy: 'The run wrote this beside its ledger.' }]
    } catch {
      return []
    }
  })
}
