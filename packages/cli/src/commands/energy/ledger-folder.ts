import { readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { SwiftError } from '@swift/spec'

/** The ledger's folder: the one named, or `energy` inside a run's folder. @throws `ERR_ARGUMENT_MISSING`, `ERR_LEDGER_MISSING` */
export async function ledgerFolder(folder: string | undefined, action = 'report'): Promise<string> {
  if (folder === undefined) {
    throw new SwiftError({
      code: 'ERR_ARGUMENT_MISSING',
      asked: `swift energy ${action} without a folder`,
      found: 'no run to look at',
      remedy: `Write swift energy ${action} RUN_FOLDER`,
    })
  }
  const inside = join(folder, 'energy')
  const isThere = async (path: string): Promise<boolean> =>
    (await stat(path).catch(() => undefined))?.isDirectory() === true
  if (await isThere(inside)) return inside
  if (await isThere(folder)) return folder
  throw new SwiftError({
    code: 'ERR_LEDGER_MISSING',
    asked: `The energy ledger of ${folder}`,
    found: 'there is no such folder',
    remedy: 'Name the folder of a run, or its energy folder',
  })
}

/** Tokens of a run, from the option or from what the trainer left beside the ledger; `undefined` where nobody knows. */
export async function tokensOf(folder: string, values: Readonly<Record<string, unknown>>): Promise<number | undefined> {
  if (typeof values['tokens'] === 'number') return values['tokens']
  const text = await readFile(join(dirname(folder), 'logging.jsonl'), 'utf8').catch(() => '')
  let tokens: number | undefined
  for (const line of text.split('\n')) {
    if (!line.includes('"tokens"')) continue
    try {
      const record = JSON.parse(line) as { readonly type?: string; readonly tokens?: number }
      if (record.type === 'log' && typeof record.tokens === 'number') tokens = record.tokens
    } catch {
      // The last line of a killed run may be half a line.
    }
  }
  return tokens
}
