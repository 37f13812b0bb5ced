import { readFile } from 'node:fs/promises'
import { SwiftError, type ChatMessage } from '@swift/spec'

/** A text, or the messages of a chat. */
export type Prompt = string | readonly ChatMessage[]

function promptError(where: string, found: string, cause?: unknown): SwiftError {
  return new SwiftError({
    code: 'ERR_PROMPT',
    asked: `The prompt at ${where}`,
    found,
    remedy: 'Write one JSON object per line, with prompt, query or messages ([{"role": …, "content": …}])',
    cause,
  })
}

function isMessage(value: unknown): value is ChatMessage {
  if (typeof value !== 'object' || value === null) return false
  const { role, content } = value as Readonly<Record<string, unknown>>
  return typeof role === 'string' && typeof content === 'string'
}

function promptOf(row: unknown, where: string): Prompt {
  if (typeof row !== 'object' || row === null) throw promptError(where, 'a value that is no object')
  const { messages, prompt, query } = row as Readonly<Record<string, unknown>>
  if (messages !== undefined) {
    if (!Array.isArray(messages) || !messages.every(isMessage)) throw promptError(where, 'messages that are no chat')
    // The answer of a row to train on is what is asked for here.
    return messages.filter(({ role }, index, all) => role !== 'assistant' || index < all.length - 1)
  }
  const text = prompt ?? query
  if (typeof text === 'string') return text
  throw promptError(where, 'a row without prompt, query or messages')
}

/**
 * Prompts of a file: the lines of a text, or the rows of a `.jsonl`.
 * @throws `ERR_FILE_OPEN`, `ERR_PROMPT` with the line
 */
export async function readPrompts(path: string): Promise<Prompt[]> {
  const text = await readFile(path, 'utf8').catch((cause: unknown) => {
    throw new SwiftError({
      code: 'ERR_FILE_OPEN',
      asked: `Prompts from ${path}`,
      found: (cause as NodeJS.ErrnoException).code ?? String(cause),
      remedy: 'Check the path',
      cause,
    })
  })
  const lines = text
    .replace(/^\uFEFF/, '')
    .split(/\r?\n/)
    .map((line, index) => ({ line, where: `${path}:${index + 1}` }))
    .filter(({ line }) => line.trim() !== '')
  return lines.map(({ line, where }) => {
    if (!path.endsWith('.jsonl')) return line
    let row: unknown
    try {
      row = JSON.parse(line)
    } catch (cause) {
      throw promptError(where, 'a line that is not JSON', cause)
    }
    return promptOf(row, where)
  })
}
