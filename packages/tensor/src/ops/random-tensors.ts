import type { Device } from '../device.ts'
import type { Tensor } from '../tensor.ts'

/** Uniform float32 values in low … high: a function of (seed, element index). */
export function uniform(
  device: Device,
  shape: readonly number[],
  options: { readonly seed: number; readonly low?: number; readonly high?: number },
): Tensor {
  return device.run('uniform', {}, { seed: options.seed, low: options.low, high: options.high }, shape)[0] as Tensor
}

/** Normal float32 values: a function of (seed, element index). */
export function normal(
  device: Device,
  shape: readonly number[],
  options: { readonly seed: number; readonly mean?: number; readonly std?: number },
): Tensor {
  return device.run('normal', {}, { seed: options.seed, mean: options.mean, std: options.std }, shape)[0] as Tensor
}

/** Options of {@link sample}, applied in this order: repetition penalty, temperature, top-k, top-p, min-p. */
export interface SampleOptions {
  /** 0 takes the largest logit, ties to the lowest id. Default 1. */
  readonly temperature?: number
  /** Number of tokens kept; 0 keeps all. Default 0. */
  readonly topK?: number
  /** Smallest set of tokens with at least this probability is kept. Default 1. */
  readonly topP?: number
  /** Tokens below this share of the largest probability are dropped. Default 0. */
  readonly minP?: number
  /** Penalty of tokens in `history` (Keskar et al. 2019, arXiv 1909.05858). Default 1. */
  readonly repetitionPenalty?: number
  /** Earlier tokens of each row, int32 [B, L], −1 pads. */
  readonly history?: Tensor | undefined
  /** Seed of the draws. Default 0. */
  readonly seed?: number
  /** Number of this draw; a draw is a function of (seed, step, row). Default 0. */
  readonly step?: number
}

/**
 * Draws one token per row, on the device.
 * @param logits - [B, V], float32
 * @returns `ids`, int32 [B], and the log-probability of each under the processed distribution, float32 [B]
 */
export function sample(logits: Tensor, options: SampleOptions = {}): { ids: Tensor; logProbs: Tensor } {
  const { history, ...attributes } = options
  const [ids, logProbs] = logits.device.run('sample', { logits, history }, attributes) as [Tensor, Tensor]
  return { ids, logProbs }
}
