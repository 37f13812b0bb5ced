import { readFileSync, readdirSync } from 'node:fs'
import { formatMarkdown, formatNumber } from './format-table.ts'
import { parseResult, type Result } from './result.ts'

const begin = '<!-- @generated results: `node --conditions=@swift/source benchmarks/write-results-table.ts` -->'
const end = '<!-- end of results -->'

/** The committed results, in the order of their names. */
export function readResults(folder: URL): readonly Result[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith('.json'))
    .toSorted()
    .map((name) => parseResult(readFileSync(new URL(name, folder), 'utf8')))
}

/** Rows worth a line beside the text: those with a peer or a limit, undisturbed ones unmarked. */
function linesOf({ suite, rows }: Result): string[][] {
  return rows
    .filter((row) => row.ours !== null && (row.peer !== null || row.limit !== null))
    .map((row) => [
      suite,
      `${row.name}${row.disturbed ? ' (disturbed)' : ''}`,
      `${formatNumber(row.ours)} ${row.unit}`,
      row.peer === null ? '' : `${formatNumber(row.peer)} (${row.peerName ?? 'peer'})`,
      row.ratio === null ? '' : `${row.ratio.toFixed(2)}×`,
      row.fractionOfLimit === null ? '' : `${(100 * row.fractionOfLimit).toFixed(0)} %`,
    ])
}

/** One table per machine and commit. */
export function formatResults(results: readonly Result[]): string {
  const groups = Map.groupBy(
    results,
    ({ machine, commit }) =>
      `${machine.processor} (${machine.processorId ?? 'no id'}), ${machine.threads} threads, ${machine.instructionSet}; commit ${commit.slice(0, 12)}`,
  )
  const tables = [...groups].map(
    ([machine, members]) =>
      `${machine}\n\n${formatMarkdown(['suite', 'what', 'ours', 'peer', 'ratio', 'of limit'], members.flatMap(linesOf))}`,
  )
  return tables.length === 0 ? 'No results are committed.' : tables.join('\n\n')
}

/** A document with the part between its marks replaced. Undefined without marks. */
export function replaceResults(document: string, results: readonly Result[]): string | undefined {
  const [from, to] = [document.indexOf(begin), document.indexOf(end)]
  if (from < 0 || to < from) return undefined
  return `${document.slice(0, from + begin.length)}\n\n${formatResults(results)}\n\n${document.slice(to)}`
}
