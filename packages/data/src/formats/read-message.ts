import type { ChatMessage, ChatRole, ToolCall } from '@swift/spec'
import { expectRecord, isRecord, kindOf, optionalText, type JsonRecord } from '../json-value.ts'
import { RowProblem } from '../row-problem.ts'
import { parseMaybeJson } from './column-aliases.ts'

/** Roles as files write them. A `tool_call` becomes an assistant turn that only calls. */
const roles: Readonly<Record<string, ChatRole | 'tool_call'>> = {
  system: 'system',
  developer: 'system',
  user: 'user',
  human: 'user',
  assistant: 'assistant',
  gpt: 'assistant',
  chatgpt: 'assistant',
  bard: 'assistant',
  bing: 'assistant',
  model: 'assistant',
  bot: 'assistant',
  tool: 'tool',
  tool_response: 'tool',
  observation: 'tool',
  function_response: 'tool',
  function: 'tool',
  tool_call: 'tool_call',
  function_call: 'tool_call',
}

/** The role of a message, or the row is rejected. */
export function readRole(value: unknown, field: string): ChatRole | 'tool_call' {
  const role = typeof value === 'string' && Object.hasOwn(roles, value) ? roles[value] : undefined
  if (role !== undefined) return role
  const found = typeof value === 'string' ? JSON.stringify(value) : kindOf(value)
  throw new RowProblem('invalid_field', `${field} is ${found}; known are system, user, assistant, tool`)
}

/** Content as text: a string, or a list of `{ type: 'text', text }` blocks, which are joined. */
function readContent(value: unknown, field: string): string {
  if (typeof value === 'string') return value
  if (!Array.isArray(value)) throw new RowProblem('invalid_field', `${field} is ${kindOf(value)}, not text`)
  return value
    .map((block: unknown, index) => {
      if (isRecord(block) && block['type'] === 'text' && typeof block['text'] === 'string') return block['text']
      const found = isRecord(block) ? `of type ${JSON.stringify(block['type'] ?? null)}` : kindOf(block)
      throw new RowProblem('invalid_field', `${field}[${index}] is ${found}; only text blocks can be trained on`)
    })
    .join('')
}

function readToolCall(value: unknown, field: string): ToolCall {
  const call = expectRecord(value, field)
  const target = isRecord(call['function']) ? call['function'] : call
  const name = target['name']
  if (typeof name !== 'string') throw new RowProblem('invalid_field', `${field}.name is ${kindOf(name)}, not text`)
  const callArguments = target['arguments'] ?? {}
  if (typeof callArguments !== 'string' && !isRecord(callArguments)) {
    throw new RowProblem('invalid_field', `${field}.arguments is ${kindOf(callArguments)}, not an object or its JSON`)
  }
  const id = optionalText(call['id'], `${field}.id`)
  return { ...(id === undefined ? {} : { id }), type: 'function', function: { name, arguments: callArguments } }
}

function readToolCalls(value: unknown, field: string): ToolCall[] {
  const calls = parseMaybeJson(value, field)
  if (calls === undefined || calls === null) return []
  return (Array.isArray(calls) ? (calls as unknown[]) : [calls]).map((call, index) =>
    readToolCall(call, `${field}[${index}]`),
  )
}

function readLoss(message: JsonRecord, field: string): Pick<ChatMessage, 'loss' | 'loss_scale'> {
  const { loss, loss_scale: scale } = message
  const read: { loss?: boolean; loss_scale?: number } = {}
  if (loss !== undefined && loss !== null) {
    // Some files write 0 and 1.
    if (loss !== true && loss !== false && loss !== 0 && loss !== 1) {
      throw new RowProblem('invalid_field', `${field}.loss is ${JSON.stringify(loss)}, not true or false`)
    }
    read.loss = loss === true || loss === 1
  }
  if (scale !== undefined && scale !== null) {
    if (typeof scale !== 'number' || !Number.isFinite(scale) || scale < 0) {
      throw new RowProblem(
        'invalid_field',
        `${field}.loss_scale is ${JSON.stringify(scale)}, not a number of at least 0`,
      )
    }
    read.loss_scale = scale
  }
  return read
}

/** Reads one message from its role, its content and the object that holds both. */
export function readMessage(
  roleValue: unknown,
  contentValue: unknown,
  message: JsonRecord,
  field: string,
): ChatMessage {
  const role = readRole(roleValue, `${field}.role`)
  if (role === 'tool_call') {
    const calls = readToolCalls(contentValue, `${field}.content`)
    if (calls.length === 0) throw new RowProblem('invalid_field', `${field}.content holds no function call`)
    return { role: 'assistant', content: '', tool_calls: calls, ...readLoss(message, field) }
  }
  const calls = readToolCalls(message['tool_calls'], `${field}.tool_calls`)
  if (calls.length > 0 && role !== 'assistant') {
    throw new RowProblem('invalid_field', `${field}.tool_calls belongs to an assistant, not to ${role}`)
  }
  const isCallOnly = calls.length > 0 && (contentValue === undefined || contentValue === null)
  const reasoning = optionalText(message['reasoning_content'], `${field}.reasoning_content`)
  const callId = optionalText(message['tool_call_id'], `${field}.tool_call_id`)
  const name = optionalText(message['name'], `${field}.name`)
  return {
    role,
    content: isCallOnly ? '' : readContent(contentValue, `${field}.content`),
    ...readLoss(message, field),
    ...(reasoning === undefined ? {} : { reasoning_content: reasoning }),
    ...(calls.length === 0 ? {} : { tool_calls: calls }),
    ...(callId === undefined ? {} : { tool_call_id: callId }),
    ...(name === undefined ? {} : { name }),
  }
}

/** Joins neighbouring turns that only call functions, which some files write one call at a time. */
export function joinToolCalls(messages: readonly ChatMessage[]): ChatMessage[] {
  const joined: ChatMessage[] = []
  for (const message of messages) {
    const previous = joined.at(-1)
    const canJoin =
      message.tool_calls !== undefined &&
      message.content === '' &&
      previous?.role === 'assistant' &&
      previous.loss === message.loss &&
      previous.loss_scale === message.loss_scale
    if (!canJoin) joined.push(message)
    else {
      const calls = [...(previous.tool_calls ?? []), ...(message.tool_calls ?? [])]
      joined[joined.length - 1] = { ...previous, tool_calls: calls }
    }
  }
  return joined
}

/** Checks what no template should have to: that there are turns and that results answer calls. */
export function checkMessages(messages: readonly ChatMessage[]): void {
  if (messages.length === 0) throw new RowProblem('empty_row', 'the row holds no messages')
  for (const [index, { role }] of messages.entries()) {
    const previous = messages[index - 1]?.role
    if (role === 'tool' && previous !== 'assistant' && previous !== 'tool') {
      throw new RowProblem(
        'invalid_roles',
        `message ${index} is a tool result after ${previous ?? 'nothing'}, not after a call`,
      )
    }
    if (role === 'system' && index > 0 && previous === 'system') {
      throw new RowProblem('invalid_roles', `messages ${index - 1} and ${index} are both system turns`)
    }
  }
}
