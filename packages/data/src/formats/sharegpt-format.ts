import type { ChatMessage } from '@swift/spec'
import { expectList, expectRecord, expectText, isRecord, optionalText, type JsonRecord } from '../json-value.ts'
import { RowProblem } from '../row-problem.ts'
import { findColumn, otherColumns } from './column-aliases.ts'
import { checkMessages, joinToolCalls, readMessage } from './read-message.ts'
import { commonColumns, readCommonColumns, writeCommonColumns, type RowFormat } from './row-format.ts'

const fromNames: Readonly<Record<string, string>> = {
  user: 'human',
  assistant: 'gpt',
  system: 'system',
  tool: 'observation',
}

/** A turn `{ from, value }`, or a pair `{ human, assistant }` that is two turns. */
function readTurn(turn: JsonRecord, field: string): ChatMessage[] {
  if ('from' in turn || 'value' in turn) return [readMessage(turn['from'], turn['value'], turn, field)]
  const human = turn['human'] ?? turn['user']
  if (human === undefined && turn['assistant'] === undefined) {
    throw new RowProblem('invalid_field', `${field} has neither from and value nor human and assistant`)
  }
  return [
    { role: 'user', content: expectText(human, `${field}.human`) },
    { role: 'assistant', content: expectText(turn['assistant'], `${field}.assistant`) },
  ]
}

function writeTurn(message: ChatMessage): JsonRecord | undefined {
  const { role, content, tool_calls: calls, loss, loss_scale: scale, ...rest } = message
  if (Object.keys(rest).length > 0) return undefined
  const marks = { ...(loss === undefined ? {} : { loss }), ...(scale === undefined ? {} : { loss_scale: scale }) }
  if (calls === undefined) return { from: fromNames[role], value: content, ...marks }
  if (content !== '') return undefined
  return { from: 'function_call', value: JSON.stringify(calls), ...marks }
}

/** `{ conversations: [{ from, value }, …], system?, tools? }`, also as `{ human, assistant }` pairs. */
export const sharegptFormat: RowFormat = {
  name: 'sharegpt',
  matches(record) {
    const column = findColumn(record, 'messages')
    const list = column === undefined ? undefined : record[column]
    if (!Array.isArray(list)) return false
    const first: unknown = list[0]
    if (first === undefined) return column !== 'messages'
    return isRecord(first) && ['from', 'value', 'human', 'assistant'].some((name) => name in first)
  },
  toRow(record, origin) {
    const column = findColumn(record, 'messages') ?? 'conversations'
    const turns = expectList(record[column], column).flatMap((value, index) => {
      const field = `${column}[${index}]`
      return readTurn(expectRecord(value, field), field)
    })
    const systemColumn = findColumn(record, 'system')
    const system = systemColumn === undefined ? undefined : optionalText(record[systemColumn], systemColumn)
    if (system !== undefined && system !== '') {
      if (turns[0]?.role === 'system')
        throw new RowProblem('invalid_roles', 'the row has a system column and a system turn')
      turns.unshift({ role: 'system', content: system })
    }
    const messages = joinToolCalls(turns)
    checkMessages(messages)
    const columns = otherColumns(record, [column, systemColumn, ...commonColumns])
    return { kind: 'chat', messages, ...readCommonColumns(record), columns, origin }
  },
  fromRow(row) {
    if (row.kind !== 'chat') return undefined
    const [first, ...others] = row.messages
    const hasSystem = first?.role === 'system' && first.content !== '' && first.loss === undefined
    const turns = (hasSystem ? others : row.messages).map(writeTurn)
    if (turns.includes(undefined)) return undefined
    return { conversations: turns, ...(hasSystem ? { system: first.content } : {}), ...writeCommonColumns(row) }
  },
}
