import { SwiftError, type ComputeDType } from '@swift/spec'
import type { DecoderConfig } from '../config/decoder-config.ts'

/** What one prompt does in a pass through the model. */
export interface GenerationWork {
  /** Index of the prompt. */
  readonly index: number
  /** Tokens of the prompt in this pass; 0 after the first. */
  readonly promptTokens: number
  /** Generated tokens in this pass; 0 in the first, which draws the first token from the prompt. */
  readonly newTokens: number
  /** Tokens already in the cache. */
  readonly contextTokens: number
}

/** How token ids are generated. */
export interface TokenGenerationOptions {
  /** Most new tokens per prompt. Default: up to the model's longest position, at most 512. */
  readonly maxNewTokens?: number
  /** 0 takes the likeliest token. Default 0. */
  readonly temperature?: number
  /** Sample among the k likeliest; 0 is all. Default 0. */
  readonly topK?: number
  /** Sample among the likeliest with this total probability. Default 1. */
  readonly topP?: number
  /** Drop tokens below this share of the largest probability. Default 0. */
  readonly minP?: number
  /** Penalty of tokens already in the sequence; 1 is off. Default 1. */
  readonly repetitionPenalty?: number
  /** Seed of the draws. Default 0. */
  readonly seed?: number
  /**
   * What inputs of products are rounded to; with `bfloat16` keys and values are kept in it too, half the memory.
   * Default: what the device computes in, with keys and values in float32.
   */
  readonly computeDtype?: ComputeDType
  /** Ids that end a sequence. Default none. */
  readonly stopTokenIds?: readonly number[]
  /** Ends the generation between tokens. */
  readonly signal?: AbortSignal
  /** Called when a pass through the model begins; what it returns is disposed when its tokens are drawn. For metering. */
  readonly onPass?: (work: readonly GenerationWork[]) => Disposable
}

const defaultNewTokens = 512

/**
 * Checks prompts against the model and returns how many tokens may follow each.
 * @throws `ERR_PROMPT_EMPTY`, `ERR_PROMPT_TOO_LONG`
 */
export function checkPrompts(
  config: DecoderConfig,
  prompts: readonly ArrayLike<number>[],
  options: TokenGenerationOptions,
): number {
  const longest = Math.max(...prompts.map((prompt) => prompt.length))
  const empty = prompts.findIndex((prompt) => prompt.length === 0)
  if (empty >= 0) {
    throw new SwiftError({
      code: 'ERR_PROMPT_EMPTY',
      asked: `Generating after prompt ${empty}`,
      found: 'it has no tokens',
      remedy: 'Give it at least one token, such as the beginning of a document',
    })
  }
  const room = config.maxPositionEmbeddings - longest
  if (room <= 0) {
    throw new SwiftError({
      code: 'ERR_PROMPT_TOO_LONG',
      asked: `Generating after a prompt of ${longest} tokens`,
      found: `the model was made for ${config.maxPositionEmbeddings}`,
      remedy: 'Shorten the prompt',
    })
  }
  return Math.min(options.maxNewTokens ?? defaultNewTokens, room)
}
