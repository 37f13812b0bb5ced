import type { LedgerTotals } from '@swift/spec'
import { csvText } from './csv.ts'

function plain(value: unknown): string {
  return JSON.stringify(value, (_key, entry: unknown) => (typeof entry === 'bigint' ? entry.toString() : entry))
}

/**
 * A ledger as JSON lines: one `ledger` line, then every source, balance and gap. Integers are decimal strings of
 * nanojoules and nanoseconds, so that no reader loses one.
 */
export function exportJsonl(totals: LedgerTotals): string {
  const { runId, segment, sequence, chainHash, durationNanoseconds, sources, entries, gaps } = totals
  return [
    { type: 'ledger', format: 'swift-ledger-export/1', runId, segment, sequence, chainHash, durationNanoseconds },
    ...sources.map((source) => ({ type: 'source', ...source })),
    ...entries.map((entry) => ({ type: 'entry', ...entry })),
    ...gaps.map((gap) => ({ type: 'gap', ...gap })),
  ]
    .map((line) => `${plain(line)}\n`)
    .join('')
}

/** The balances of a ledger as CSV, one line for each source and account. */
export function exportCsv(totals: LedgerTotals): string {
  return csvText(
    ['run_id', 'source', 'class', 'account', 'path', 'nanojoules', 'below_nanojoules', 'above_nanojoules'],
    totals.entries.map((entry) => [
      totals.runId,
      entry.source,
      entry.energyClass,
      entry.kind,
      entry.path,
      entry.nanojoules,
      entry.belowNanojoules,
      entry.aboveNanojoules,
    ]),
  )
}
