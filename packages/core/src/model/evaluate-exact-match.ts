import { readRows } from '@swift/data'
import { SwiftError, type ChatMessage, type Row } from '@swift/spec'
import type { SwiftModel } from './swift-model.ts'

/** How {@link evaluateExactMatch} asks. */
export interface ExactMatchOptions {
  /** Rows to ask at most. Default all. */
  readonly limit?: number
  /** Tokens of an answer at most. Default 64. */
  readonly maxNewTokens?: number
  /** Prompts generated at once. Default 16. */
  readonly batchSize?: number
  /** Column of the files → standard column. */
  readonly columns?: Readonly<Record<string, string>>
  /** Variables of the chat template. */
  readonly chatTemplateKwargs?: Readonly<Record<string, unknown>>
  /** Whether an answer is right. Default: equal after trimming. */
  readonly matches?: (answer: string, expected: string) => boolean
  /** Ends it between tokens; the rows asked so far are the result. */
  readonly signal?: AbortSignal
  /** Called after each batch. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number; readonly correct: number }) => void
}

/** One row that was asked. */
export interface ExactMatchSample {
  /** Messages before the expected answer. */
  readonly prompt: readonly ChatMessage[]
  /** The row's last assistant message. */
  readonly expected: string
  /** What the model wrote. */
  readonly answer: string
  /** Whether it counts. */
  readonly isCorrect: boolean
}

/** What an exact-match evaluation came to. */
export interface ExactMatchResult {
  /** Fraction of rows answered exactly, 0 … 1. */
  readonly exactMatch: number
  /** Rows answered exactly. */
  readonly correct: number
  /** Rows asked. */
  readonly total: number
  /** Every row. */
  readonly samples: readonly ExactMatchSample[]
}

interface Question {
  readonly prompt: readonly ChatMessage[]
  readonly expected: string
}

/**
 * Asks a model the rows of a dataset, greedily, and compares its answers with the last assistant messages.
 * @param rows - rows of a chat dataset, or sources to read them from
 * @throws `ERR_DATASET_EMPTY` when no row ends in an assistant's message
 */
export async function evaluateExactMatch(
  model: SwiftModel,
  rows: readonly Row[] | string | readonly string[],
  options: ExactMatchOptions = {},
): Promise<ExactMatchResult> {
  const { limit = Number.POSITIVE_INFINITY, maxNewTokens = 64, batchSize = 16, signal, onProgress } = options
  const matches = options.matches ?? ((answer, expected) => answer.trim() === expected.trim())
  const questions = (await questionsOf(rows, options)).slice(0, limit)
  if (questions.length === 0) {
    throw new SwiftError({
      code: 'ERR_DATASET_EMPTY',
      asked: 'An exact-match evaluation',
      found: 'no row ends in an assistant message to compare with',
      remedy: 'Give rows of chats or of questions and answers',
    })
  }
  const samples: ExactMatchSample[] = []
  let correct = 0
  for (let start = 0; start < questions.length; start += batchSize) {
    if (signal?.aborted === true) break
    const batch = questions.slice(start, start + batchSize)
    const answers = await model.generateBatch(
      batch.map(({ prompt }) => prompt),
      {
        maxNewTokens,
        temperature: 0,
        repetitionPenalty: 1,
        ...(options.chatTemplateKwargs === undefined ? {} : { chatTemplateKwargs: options.chatTemplateKwargs }),
        ...(signal === undefined ? {} : { signal }),
      },
    )
    for (const [index, { prompt, expected }] of batch.entries()) {
      const answer = answers[index] ?? ''
      const isCorrect = matches(answer, expected)
      if (isCorrect) correct += 1
      samples.push({ prompt, expected, answer, isCorrect })
    }
    onProgress?.({ done: samples.length, total: questions.length, correct })
  }
  return { exactMatch: correct / Math.max(1, samples.length), correct, total: samples.length, samples }
}

function isRow(entry: Row | string): entry is Row {
  return typeof entry !== 'string'
}

async function questionsOf(
  rows: readonly Row[] | string | readonly string[],
  options: ExactMatchOptions,
): Promise<Question[]> {
  const list: readonly (Row | string)[] = typeof rows === 'string' ? [rows] : rows
  const sources = list.filter((entry) => typeof entry === 'string')
  const read =
    sources.length === 0
      ? []
      : (await readRows({ sources, ...(options.columns === undefined ? {} : { columns: { ...options.columns } }) }))
          .rows
  return [...list.filter(isRow), ...read].flatMap(({ kind, messages }) => {
    const last = messages.at(-1)
    return kind === 'chat' && last?.role === 'assistant'
      ? [{ prompt: messages.slice(0, -1), expected: last.content }]
      : []
  })
}
