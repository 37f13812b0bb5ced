import { optionalText } from '../json-value.ts'
import { RowProblem } from '../row-problem.ts'
import { findColumn, otherColumns } from './column-aliases.ts'
import { buildPlainRow, toPlainChat } from './query-response-format.ts'
import { commonColumns, readCommonColumns, writeCommonColumns, type RowFormat } from './row-format.ts'

/** `{ instruction, input?, output, history?, system? }`: the question is instruction, a line break, input. */
export const alpacaFormat: RowFormat = {
  name: 'alpaca',
  matches(record) {
    return 'instruction' in record && ('input' in record || 'output' in record)
  },
  toRow(record, origin) {
    const instruction = optionalText(record['instruction'], 'instruction') ?? ''
    const input = optionalText(record['input'], 'input') ?? ''
    const question = [instruction, input].filter((text) => text !== '').join('\n')
    if (question === '') throw new RowProblem('empty_row', 'instruction and input are both empty')
    const hasOutput = record['output'] !== undefined && record['output'] !== null
    const responseColumn = hasOutput ? 'output' : findColumn(record, 'response')
    const messages = buildPlainRow(record, [{ role: 'user', content: question }], responseColumn)
    const used = [
      'instruction',
      'input',
      'output',
      responseColumn,
      findColumn(record, 'system'),
      'history',
      ...commonColumns,
    ]
    return { kind: 'chat', messages, ...readCommonColumns(record), columns: otherColumns(record, used), origin }
  },
  fromRow(row) {
    const chat = toPlainChat(row)
    if (chat === undefined || chat.system === '' || chat.query === '') return undefined
    return {
      ...(chat.system === undefined ? {} : { system: chat.system }),
      ...(chat.history.length === 0 ? {} : { history: chat.history }),
      instruction: chat.query,
      input: '',
      ...(chat.response === undefined ? {} : { output: chat.response }),
      ...writeCommonColumns(row),
    }
  },
}
