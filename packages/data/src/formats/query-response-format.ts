import type { ChatMessage, Row } from '@swift/spec'
import { expectList, expectRecord, expectText, isRecord, optionalText, type JsonRecord } from '../json-value.ts'
import { RowProblem } from '../row-problem.ts'
import { findColumn, otherColumns } from './column-aliases.ts'
import { checkMessages, readMessage } from './read-message.ts'
import { commonColumns, readCommonColumns, writeCommonColumns, type RowFormat } from './row-format.ts'

/** `history`: pairs `[query, response]`, or messages; null is none. */
export function readHistory(value: unknown): ChatMessage[] {
  if (value === undefined || value === null) return []
  return expectList(value, 'history').flatMap((entry, index) => {
    const field = `history[${index}]`
    if (isRecord(entry)) return [readMessage(entry['role'], entry['content'], entry, field)]
    const pair = expectList(entry, field)
    if (pair.length !== 2)
      throw new RowProblem('invalid_field', `${field} has ${pair.length} members, not a query and a response`)
    return [
      { role: 'user', content: expectText(pair[0], `${field}[0]`) },
      { role: 'assistant', content: expectText(pair[1], `${field}[1]`) },
    ]
  })
}

/** What a chat of plain turns is made of: a system text, earlier pairs and the last one. */
export interface PlainChat {
  readonly system: string | undefined
  readonly history: readonly (readonly [query: string, response: string])[]
  readonly query: string
  /** Undefined when the chat ends with the question. */
  readonly response: string | undefined
}

function isPlain(message: ChatMessage | undefined, role: string): message is ChatMessage {
  return message?.role === role && Object.keys(message).length === 2
}

/** A row as `PlainChat`; undefined when it has tools, marks or turns out of order. */
export function toPlainChat(row: Row): PlainChat | undefined {
  if (row.kind !== 'chat') return undefined
  const [first] = row.messages
  const hasSystem = isPlain(first, 'system')
  const turns = hasSystem ? row.messages.slice(1) : row.messages
  const pairs: [string, string][] = []
  let question: string | undefined
  for (const message of turns) {
    if (question === undefined) {
      if (!isPlain(message, 'user')) return undefined
      question = message.content
    } else {
      if (!isPlain(message, 'assistant')) return undefined
      pairs.push([question, message.content])
      question = undefined
    }
  }
  const system = hasSystem ? first.content : undefined
  if (question !== undefined) return { system, history: pairs, query: question, response: undefined }
  const last = pairs.pop()
  return last === undefined ? undefined : { system, history: pairs, query: last[0], response: last[1] }
}

function promptMessages(value: unknown, column: string): ChatMessage[] {
  if (!Array.isArray(value)) return [{ role: 'user', content: expectText(value, column) }]
  // Prompts of reinforcement learning come as messages.
  return value.map((entry: unknown, index) => {
    const field = `${column}[${index}]`
    const message = expectRecord(entry, field)
    return readMessage(message['role'], message['content'], message, field)
  })
}

/** Builds a row from its parts; formats differ only in where they find them. */
export function buildPlainRow(
  record: JsonRecord,
  prompt: ChatMessage[],
  responseColumn: string | undefined,
): ChatMessage[] {
  const systemColumn = findColumn(record, 'system')
  const system = systemColumn === undefined ? undefined : optionalText(record[systemColumn], systemColumn)
  const messages: ChatMessage[] = []
  if (system !== undefined && system !== '') messages.push({ role: 'system', content: system })
  messages.push(...readHistory(record['history']), ...prompt)
  if (responseColumn !== undefined) {
    messages.push({ role: 'assistant', content: expectText(record[responseColumn], responseColumn) })
  }
  checkMessages(messages)
  return messages
}

/** `{ query, response, history?, system? }` under any of their column aliases. */
export const queryResponseFormat: RowFormat = {
  name: 'query-response',
  matches(record) {
    return findColumn(record, 'query') !== undefined
  },
  toRow(record, origin) {
    const queryColumn = findColumn(record, 'query')
    if (queryColumn === undefined) throw new RowProblem('unknown_format', 'the row has no query column')
    const responseColumn = findColumn(record, 'response')
    const messages = buildPlainRow(record, promptMessages(record[queryColumn], queryColumn), responseColumn)
    const used = [queryColumn, responseColumn, findColumn(record, 'system'), 'history', ...commonColumns]
    return { kind: 'chat', messages, ...readCommonColumns(record), columns: otherColumns(record, used), origin }
  },
  fromRow(row) {
    const chat = toPlainChat(row)
    if (chat === undefined || chat.system === '') return undefined
    // A column that would be read as part of the chat cannot be kept beside it.
    if (findColumn(row.columns, 'response') !== undefined && chat.response === undefined) return undefined
    return {
      ...(chat.system === undefined ? {} : { system: chat.system }),
      ...(chat.history.length === 0 ? {} : { history: chat.history }),
      query: chat.query,
      ...(chat.response === undefined ? {} : { response: chat.response }),
      ...writeCommonColumns(row),
    }
  },
}
