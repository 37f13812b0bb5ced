import { SwiftError, type RawRecord, type Row } from '@swift/spec'
import { isRecord, kindOf, type JsonRecord } from '../json-value.ts'
import { RowProblem } from '../row-problem.ts'
import { alpacaFormat } from './alpaca-format.ts'
import { renameColumns } from './column-aliases.ts'
import { messagesFormat } from './messages-format.ts'
import { queryResponseFormat } from './query-response-format.ts'
import type { RowFormat, RowFormatName } from './row-format.ts'
import { sharegptFormat } from './sharegpt-format.ts'
import { textFormat } from './text-format.ts'

/** All formats in the order in which a record is asked whether it has their shape. */
export const rowFormats: readonly RowFormat[] = [
  messagesFormat,
  sharegptFormat,
  alpacaFormat,
  queryResponseFormat,
  textFormat,
]

/** The format of a name. @throws SwiftError `ERR_ROW_FORMAT_UNKNOWN`. */
export function findRowFormat(name: RowFormatName): RowFormat {
  const format = rowFormats.find((candidate) => candidate.name === name)
  if (format !== undefined) return format
  throw new SwiftError({
    code: 'ERR_ROW_FORMAT_UNKNOWN',
    asked: `The row format ${JSON.stringify(name)}`,
    found: `known are ${rowFormats.map((known) => known.name).join(', ')}`,
    remedy: 'Use one of these, or leave it out to have each row recognised.',
  })
}

/** The format a record has; undefined when none fits. */
export function detectRowFormat(record: JsonRecord): RowFormat | undefined {
  return rowFormats.find((format) => format.matches(record))
}

/** Reads one record as a row. What is wrong with it is thrown as a `RowProblem`. */
export function toRow(
  record: RawRecord,
  file: string,
  format: RowFormatName | 'auto',
  columns: Readonly<Record<string, string>>,
): Row {
  if (!isRecord(record.value))
    throw new RowProblem('not_an_object', `the row is ${kindOf(record.value)}, not an object`)
  const renamed = renameColumns(record.value, columns)
  const chosen = format === 'auto' ? detectRowFormat(renamed) : findRowFormat(format)
  if (chosen === undefined) {
    const names = Object.keys(renamed).slice(0, 8).join(', ')
    throw new RowProblem(
      'unknown_format',
      `no known columns among ${names === '' ? 'none' : names}; rename them with columns`,
    )
  }
  const origin = { file, index: record.index, ...(record.line === undefined ? {} : { line: record.line }) }
  return chosen.toRow(renamed, origin)
}

/**
 * Writes a row in a format.
 * @throws SwiftError `ERR_ROW_NOT_EXPRESSIBLE` when the format has no words for it, such as tools in alpaca.
 */
export function fromRow(row: Row, format: RowFormatName): JsonRecord {
  const record = findRowFormat(format).fromRow(row)
  if (record !== undefined) return record
  throw new SwiftError({
    code: 'ERR_ROW_NOT_EXPRESSIBLE',
    asked: `Writing row ${row.origin.index} of ${row.origin.file} as ${format}`,
    found: `its turns (${row.messages.map(({ role }) => role).join(', ')}) or marks have no place in this format`,
    remedy: 'Write it as messages, which can say everything.',
    details: { ...row.origin },
  })
}
