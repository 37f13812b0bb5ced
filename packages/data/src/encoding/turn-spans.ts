import type { ChatMessage, ChatRenderOptions, ChatTemplate, TextRange } from '@swift/spec'
import { RowProblem } from '../row-problem.ts'

/** A rendered chat and where the turns asked for are in it. */
export interface LocatedChat {
  readonly text: string
  /** Range of what the speaker of each turn asked for said, by message index. */
  readonly ranges: ReadonlyMap<number, TextRange>
}

// Private-use characters stand in for a turn's content; a row that contains them is looked at with the other ones.
const standIns = ['\uE0F2', '\uE0F3', '\uE0F4'] as const

function render(template: ChatTemplate, messages: readonly ChatMessage[], options: ChatRenderOptions): string {
  try {
    return template.render(messages, options)
  } catch (error) {
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
    throw new RowProblem('template_refused', cause instanceof Error ? cause.message : String(cause))
  }
}

/** As `render`, for attempts that may fail: templates refuse incomplete chats. */
function tryRender(
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  options: ChatRenderOptions,
): string | undefined {
  try {
    return template.render(messages, options)
  } catch {
    return undefined
  }
}

/**
 * The range of an assistant turn as what its rendering adds: the chat up to the turn, ending in the header of an answer,
 * must begin the whole text, and so must the chat including the turn.
 */
function locateByPrefix(
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  index: number,
  options: ChatRenderOptions,
  text: string,
): TextRange | undefined {
  const before = tryRender(template, messages.slice(0, index), { ...options, addGenerationPrompt: true })
  if (before === undefined || !text.startsWith(before)) return undefined
  const isLast = index === messages.length - 1
  const including = isLast ? text : tryRender(template, messages.slice(0, index + 1), options)
  if (including === undefined || !text.startsWith(including) || including.length <= before.length) return undefined
  return { start: before.length, end: including.length }
}

function commonPrefixLength(left: string, right: string): number {
  const limit = Math.min(left.length, right.length)
  let length = 0
  while (length < limit && left.charCodeAt(length) === right.charCodeAt(length)) length += 1
  return length
}

function commonSuffixLength(left: string, right: string, limit: number): number {
  let length = 0
  while (length < limit && left.charCodeAt(left.length - 1 - length) === right.charCodeAt(right.length - 1 - length)) {
    length += 1
  }
  return length
}

/** The header that begins an answer, as the template writes it after the turns before. */
function answerHeader(
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  index: number,
  options: ChatRenderOptions,
): string | undefined {
  const before = messages.slice(0, index)
  const open = tryRender(template, before, { ...options, addGenerationPrompt: true })
  const closed = tryRender(template, before, options)
  if (open === undefined || closed === undefined || !open.startsWith(closed)) return undefined
  return open.slice(closed.length)
}

/**
 * The range of a turn by rendering the whole chat once more with a stand-in for its content: what differs is the turn.
 * For templates that write earlier turns differently once later ones follow, such as those that drop old reasoning.
 */
function locateByDifference(
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  index: number,
  options: ChatRenderOptions,
  text: string,
  earliest: number,
): TextRange | undefined {
  const message = messages[index]
  const standIn = standIns.find((candidate) => !text.includes(candidate))
  if (message === undefined || standIn === undefined) return undefined
  const { tool_calls: _calls, reasoning_content: _reasoning, ...plain } = message
  const changed = messages.with(index, { ...plain, content: standIn })
  const variant = tryRender(template, changed, options)
  if (variant === undefined) return undefined
  const prefix = commonPrefixLength(text, variant)
  const suffix = commonSuffixLength(text, variant, Math.min(text.length, variant.length) - prefix)
  const differing = variant.slice(prefix, variant.length - suffix)
  // The stand-in must close the difference and occur once, or the template did more than print the content.
  if (!differing.endsWith(standIn) || variant.split(standIn).length !== 2) return undefined
  const end = text.length - suffix
  if (prefix < earliest || end < prefix) return undefined
  if (message.role !== 'assistant') return { start: prefix, end }
  // What the template wrote between the header and the content (reasoning tags) the model has to write too.
  const header = answerHeader(template, messages, index, options)
  const headerStart = header === undefined || header === '' ? -1 : text.lastIndexOf(header, prefix - header.length)
  const start = header === undefined || headerStart < earliest ? prefix : headerStart + header.length
  return { start, end }
}

/**
 * Renders a chat and finds the turns asked for. Ranges come from the template's own marks where it has them, else from
 * rendering prefixes of the chat, else from what changes with the turn's content; every way is checked against the whole
 * rendering. A turn found by none of them rejects the row, since a wrong mask is worse than a missing row.
 */
export function locateTurns(
  template: ChatTemplate,
  messages: readonly ChatMessage[],
  options: ChatRenderOptions,
  wanted: readonly number[],
): LocatedChat {
  const text = render(template, messages, options)
  const assistants = messages.flatMap(({ role }, index) => (role === 'assistant' ? [index] : []))
  const marked = wanted.length === 0 ? undefined : template.renderMarked(messages, options)
  const isMarked = marked !== undefined && marked.text === text && marked.generations.length === assistants.length
  const ranges = new Map<number, TextRange>()
  let earliest = 0
  for (const index of wanted) {
    const isAssistant = messages[index]?.role === 'assistant'
    const mark = isMarked && isAssistant ? marked.generations[assistants.indexOf(index)] : undefined
    const range =
      mark ??
      (isAssistant ? locateByPrefix(template, messages, index, options, text) : undefined) ??
      locateByDifference(template, messages, index, options, text, earliest)
    if (range === undefined || range.start < earliest) {
      throw new RowProblem(
        'loss_span_not_found',
        `the chat template ${template.name} renders turn ${index} (${messages[index]?.role ?? 'absent'}) in a way that hides where it begins and ends`,
      )
    }
    ranges.set(index, range)
    earliest = range.end
  }
  return { text, ranges }
}
