import type { ChatMessage, ChatTemplate, Encoding, Row, TextRange, Tokenizer } from '@swift/spec'
import { isRecord } from '../json-value.ts'
import { RowProblem } from '../row-problem.ts'
import { findTrainedTurns, type LossStrategy } from './loss-turns.ts'
import type { TokenSequence } from './token-sequence.ts'
import { locateTurns } from './turn-spans.ts'

/** What chats are encoded with. */
export interface ChatEncodingOptions {
  readonly template: ChatTemplate
  readonly tokenizer: Tokenizer
  readonly strategy: LossStrategy
  /** Variables of the template for all rows; a row's own come after them. */
  readonly variables: Readonly<Record<string, unknown>>
}

/** A rendered chat before it is tokenised. */
export interface RenderedChat {
  readonly text: string
  readonly trained: readonly (TextRange & { readonly weight: number })[]
  /** Everything is trained, whatever `trained` says. */
  readonly isAll: boolean
  /** The text ends with an answer that has to be followed by an end token. */
  readonly endsWithAnswer: boolean
}

/** Templates print arguments as JSON; text that is JSON already would be printed as a JSON string. */
function parseArguments(message: ChatMessage): ChatMessage {
  if (message.tool_calls === undefined) return message
  const calls = message.tool_calls.map((call) => {
    if (typeof call.function.arguments !== 'string') return call
    try {
      const parsed: unknown = JSON.parse(call.function.arguments)
      return isRecord(parsed) ? { ...call, function: { ...call.function, arguments: parsed } } : call
    } catch {
      return call
    }
  })
  return { ...message, tool_calls: calls }
}

/** Renders a row and finds what of it is trained. Problems are thrown as `RowProblem`. */
export function renderChat(row: Row, { template, strategy, variables }: ChatEncodingOptions): RenderedChat {
  const messages = row.messages.map(parseArguments)
  const turns = findTrainedTurns(messages, strategy)
  for (const { index } of turns) {
    const message = messages[index]
    if (message?.role === 'assistant' && message.content.trim() === '' && message.tool_calls === undefined) {
      throw new RowProblem('empty_answer', `message ${index} is an answer to learn but says nothing`)
    }
  }
  const isAll = strategy === 'all'
  if (!isAll && turns.length === 0) {
    throw new RowProblem('nothing_to_train', 'the row holds no assistant turn to learn')
  }
  const options = { tools: row.tools, variables: { ...variables, ...row.chatTemplateVariables } }
  const wanted = isAll ? [] : turns.map(({ index }) => index)
  const { text, ranges } = locateTurns(template, messages, options, wanted)
  const trained = turns.flatMap(({ index, weight }) => {
    const range = ranges.get(index)
    return range === undefined ? [] : [{ ...range, weight }]
  })
  return { text, trained, isAll, endsWithAnswer: messages.at(-1)?.role === 'assistant' }
}

/** The first token that ends a turn, at or after `from` with nothing but white space before it; undefined if none. */
function findTurnEnd(encoding: Encoding, text: string, from: number, stops: ReadonlySet<number>): number | undefined {
  const { ids, offsets } = encoding
  let token = 0
  while (token < ids.length && (offsets[2 * token] ?? 0) < from) token += 1
  for (; token < ids.length; token += 1) {
    if (stops.has(ids[token] ?? -1)) return token
    const piece = text.slice(offsets[2 * token], offsets[2 * token + 1])
    if (piece.trim() !== '') return undefined
  }
  return undefined
}

/** The last turn end within a range of text, as a position after that token. */
function endAfterTurnEnd(encoding: Encoding, range: TextRange, stops: ReadonlySet<number>): number | undefined {
  const { ids, offsets } = encoding
  for (let token = ids.length - 1; token >= 0; token -= 1) {
    const start = offsets[2 * token] ?? 0
    if (start < range.start) return undefined
    if (start < range.end && stops.has(ids[token] ?? -1)) return offsets[2 * token + 1]
  }
  return undefined
}

/**
 * Labels the tokens of a rendered chat. A token is trained when it holds any character of a trained range. A turn ends
 * with its end token: what a template writes after it (line breaks) is not trained, and an end token that follows the
 * range belongs to it. An answer that ends the chat without any end token gets the tokenizer's EOS appended, trained,
 * since a model that never saw one never stops.
 */
export function labelChat(
  chat: RenderedChat,
  encoding: Encoding,
  tokenizer: Tokenizer,
): { sequence: TokenSequence; isEosAppended: boolean } {
  const { ids, offsets } = encoding
  const stops = new Set(tokenizer.stopTokenIds)
  const trained = new Uint8Array(ids.length + 1)
  const weights = chat.trained.some(({ weight }) => weight !== 1) ? new Float32Array(ids.length + 1).fill(1) : undefined
  let hasEnd = false
  let lastWeight = 1
  for (const { start, end, weight } of chat.trained) {
    const cut = endAfterTurnEnd(encoding, { start, end }, stops)
    const following = cut === undefined ? findTurnEnd(encoding, chat.text, end, stops) : undefined
    const last = cut ?? (following === undefined ? end : (offsets[2 * following + 1] ?? end))
    hasEnd = cut !== undefined || following !== undefined
    lastWeight = weight
    for (let token = 0; token < ids.length; token += 1) {
      const from = offsets[2 * token] ?? 0
      const to = offsets[2 * token + 1] ?? 0
      if (from >= last || Math.max(to, from + 1) <= start) continue
      trained[token] = 1
      if (weights !== undefined) weights[token] = weight
    }
  }
  if (chat.isAll) {
    trained.fill(1, 0, ids.length)
    hasEnd = ids.some((id) => stops.has(id))
  }
  trained[0] = 0
  const isEosAppended = chat.endsWithAnswer && !hasEnd && tokenizer.eosTokenId !== undefined
  const length = ids.length + (isEosAppended ? 1 : 0)
  const all = new Int32Array(length)
  all.set(ids)
  if (isEosAppended) {
    all[length - 1] = tokenizer.eosTokenId ?? 0
    const isLastTrained = chat.isAll || chat.trained.some(({ end }) => end === chat.text.length)
    trained[length - 1] = isLastTrained ? 1 : 0
    if (weights !== undefined) weights[length - 1] = lastWeight
  }
  return {
    sequence: { ids: all, trained: trained.subarray(0, length), weights: weights?.subarray(0, length) },
    isEosAppended,
  }
}
