import { SwiftError } from '@swift/spec'
import type { CommandCall } from '../../arguments/command.ts'
import { printJson } from '../../output/output.ts'
import { ledgerFolder } from './ledger-folder.ts'
import { reportOptions } from './report-options.ts'

/** `swift energy merge A B …`: one report over the ledgers of several ranks or machines. */
export async function merge({ values, positionals, output }: CommandCall): Promise<number> {
  const { mergeReport } = await import('@swift/energy')
  const names = positionals.slice(1)
  if (names.length === 0) {
    throw new SwiftError({
      code: 'ERR_ARGUMENT_MISSING',
      asked: 'swift energy merge',
      found: 'no folders',
      remedy: 'Write swift energy merge RANK_0 RANK_1 …',
    })
  }
  const folders = await Promise.all(names.map((name) => ledgerFolder(name, 'merge')))
  const report = await mergeReport(folders, await reportOptions(values))
  const tokens = typeof values['tokens'] === 'number' ? values['tokens'] : undefined
  if (output.json) printJson({ type: 'energy-report', merged: folders, ...report })
  else (await import('./print-report.ts')).printReport(report, tokens)
  return 0
}
