import { expectList, expectRecord, isRecord, optionalText, type JsonRecord } from '../json-value.ts'
import { columnAliases, findColumn, otherColumns } from './column-aliases.ts'
import { checkMessages, joinToolCalls, readMessage } from './read-message.ts'
import { commonColumns, readCommonColumns, writeCommonColumns, type RowFormat } from './row-format.ts'

function firstMessage(record: JsonRecord): JsonRecord | undefined {
  const column = findColumn(record, 'messages')
  const list = column === undefined ? undefined : record[column]
  const first: unknown = Array.isArray(list) ? list[0] : undefined
  return isRecord(first) ? first : undefined
}

/** `{ messages: [{ role, content, loss? }, …], tools? }`, as OpenAI and chat templates write chats. */
export const messagesFormat: RowFormat = {
  name: 'messages',
  matches(record) {
    const first = firstMessage(record)
    return first === undefined ? Array.isArray(record['messages']) : 'role' in first
  },
  toRow(record, origin) {
    const column = findColumn(record, 'messages') ?? 'messages'
    const systemColumn = findColumn(record, 'system')
    const system = systemColumn === undefined ? undefined : optionalText(record[systemColumn], systemColumn)
    const messages = expectList(record[column], column).map((value, index) => {
      const field = `${column}[${index}]`
      const message = expectRecord(value, field)
      return readMessage(message['role'], message['content'], message, field)
    })
    if (system !== undefined && messages[0]?.role !== 'system') messages.unshift({ role: 'system', content: system })
    const joined = joinToolCalls(messages)
    checkMessages(joined)
    const isSystemUsed = system !== undefined && joined[0]?.content === system
    const used = [column, ...commonColumns, ...(isSystemUsed ? [systemColumn] : [])]
    const columns = otherColumns(record, used)
    return { kind: 'chat', messages: joined, ...readCommonColumns(record), columns, origin }
  },
  fromRow(row) {
    if (row.kind !== 'chat') return undefined
    const taken = columnAliases.messages.some((name) => name in row.columns)
    return taken ? undefined : { messages: row.messages, ...writeCommonColumns(row) }
  },
}
