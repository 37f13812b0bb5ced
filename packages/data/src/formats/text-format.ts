import { expectText } from '../json-value.ts'
import { RowProblem } from '../row-problem.ts'
import { findColumn, otherColumns } from './column-aliases.ts'
import { type RowFormat } from './row-format.ts'

/** `{ text }`: a document, trained on as it is. */
export const textFormat: RowFormat = {
  name: 'text',
  matches(record) {
    return findColumn(record, 'text') !== undefined
  },
  toRow(record, origin) {
    const column = findColumn(record, 'text')
    if (column === undefined) throw new RowProblem('unknown_format', 'the row has no text column')
    const content = expectText(record[column], column)
    if (content.trim() === '') throw new RowProblem('empty_row', 'the document is empty')
    return { kind: 'text', messages: [{ role: 'assistant', content }], columns: otherColumns(record, [column]), origin }
  },
  fromRow(row) {
    const [document] = row.messages
    return row.kind === 'text' && document !== undefined ? { text: document.content, ...row.columns } : undefined
  },
}
