import type { Row } from './row.ts'
import type { Summary } from './statistics.ts'

const scales: readonly (readonly [least: number, suffix: string])[] = [
  [1e12, ' T'],
  [1e9, ' G'],
  [1e6, ' M'],
]

/** A number with four significant digits at most; millions and more with a suffix. */
export function formatNumber(value: number | null): string {
  if (value === null) return ''
  const [least, suffix] = scales.find(([from]) => Math.abs(value) >= from) ?? [1, '']
  const scaled = value / least
  if (scaled === 0) return '0'
  const digits = Math.max(0, 3 - Math.floor(Math.log10(Math.abs(scaled))))
  return `${scaled.toFixed(Math.min(digits, 6))}${suffix}`
}

function spread(rounds: Summary | null): string {
  return rounds === null || rounds.count < 2 ? '' : ` (${formatNumber(rounds.min)}–${formatNumber(rounds.max)})`
}

function cells(row: Row): string[] {
  return [
    row.name,
    row.unit,
    `${formatNumber(row.ours)}${spread(row.oursRounds)}`,
    `${formatNumber(row.peer)}${spread(row.peerRounds)}`,
    row.peerName ?? '',
    row.ratio === null ? '' : `${row.ratio.toFixed(2)}×`,
    formatNumber(row.limit),
    row.fractionOfLimit === null ? '' : `${(100 * row.fractionOfLimit).toFixed(0)} %`,
    [
      row.disturbed ? `disturbed: others took ${(100 * (row.othersShare ?? 0)).toFixed(0)} % of the CPU` : '',
      row.note ?? '',
    ]
      .filter((text) => text !== '')
      .join('; '),
  ]
}

const heads = ['name', 'unit', 'ours (min–max)', 'peer (min–max)', 'which peer', 'ratio', 'limit', 'of limit', 'note']

/** Columns laid out as text, the empty ones left out. */
export function formatColumns(head: readonly string[], body: readonly (readonly string[])[]): string {
  const used = head.map((_, column) => body.some((line) => (line[column] ?? '') !== ''))
  const shown = (line: readonly string[]): string[] => line.filter((_, column) => used[column] === true)
  const lines = [shown(head), ...body.map(shown)]
  const widths = shown(head).map((_, column) => Math.max(...lines.map((line) => (line[column] ?? '').length)))
  const text = (line: readonly string[]): string =>
    line
      .map((cell, column) => (column === line.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join('  ')
      .trimEnd()
  return [
    text(lines[0] as string[]),
    widths.map((width) => '─'.repeat(width)).join('  '),
    ...lines.slice(1).map(text),
  ].join('\n')
}

/** The rows of a suite as a table of text. */
export function formatTable(rows: readonly Row[]): string {
  return formatColumns(heads, rows.map(cells))
}

/** A table in Markdown. */
export function formatMarkdown(head: readonly string[], body: readonly (readonly string[])[]): string {
  const line = (columns: readonly string[]): string => `| ${columns.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...body.map(line)].join('\n')
}
