import { SwiftError } from '@swift/spec'
import { nonNegativeLeastSquares } from '../statistics/non-negative-least-squares.ts'

/** What one request did in one step of an engine. */
export interface RequestWork {
  /** The request. */
  readonly id: string
  /** Tokens of the prompt processed in this step; 0 while decoding. */
  readonly promptTokens: number
  /** Tokens written in this step; 0 while the prompt is processed. */
  readonly newTokens: number
  /** Tokens already in the cache before this step. */
  readonly contextTokens: number
}

/** Energy of a token by what is done with it, in nanojoules: cost = fixed share + decode + prefill. */
export interface RequestWeights {
  /** `a`: a new token. */
  readonly newToken: number
  /** `b`: a new token, for each token of context. */
  readonly newTokenContext: number
  /** `c`: a token of the prompt. */
  readonly promptToken: number
  /** `d`: a token of the prompt, for each token of context. */
  readonly promptTokenContext: number
  /** A step whatever is in it; its requests carry equal parts of it. */
  readonly step: number
}

/** Weights from measured steps, and how good they are. */
export interface FittedRequestWeights extends RequestWeights {
  /** Share of the variance between steps that the weights explain. */
  readonly r2: number
  /** Steps used. */
  readonly samples: number
}

/** Fewer steps than this say nothing about five weights. */
export const fewestSteps = 20

/** The four features of a request's work, and its share of the step. */
function features({ promptTokens, newTokens, contextTokens }: RequestWork): readonly number[] {
  return [newTokens, newTokens * contextTokens, promptTokens, promptTokens * contextTokens]
}

/** Nanojoules that decoding and prompt of a request weigh, without the step's fixed part. */
export function weigh(
  work: RequestWork,
  weights: RequestWeights,
): { readonly decode: number; readonly prefill: number } {
  const [newTokens = 0, newContext = 0, promptTokens = 0, promptContext = 0] = features(work)
  return {
    decode: weights.newToken * newTokens + weights.newTokenContext * newContext,
    prefill: weights.promptToken * promptTokens + weights.promptTokenContext * promptContext,
  }
}

/**
 * Fits the weights on measured steps: `E = step + Σ a·new + b·new·context + c·prompt + d·prompt·context`, none below 0.
 * @param steps active energy of each step and what its requests did
 * @throws `ERR_ENERGY_FIT` for fewer than 20 steps with requests
 */
export function fitRequestWeights(
  steps: readonly { readonly nanojoules: bigint; readonly work: readonly RequestWork[] }[],
): FittedRequestWeights {
  const used = steps.filter(({ work }) => work.length > 0)
  if (used.length < fewestSteps) {
    throw new SwiftError({
      code: 'ERR_ENERGY_FIT',
      asked: 'Fitting the weights of requests',
      found: `${used.length} steps with requests`,
      remedy: `Measure at least ${fewestSteps} steps of different size first`,
    })
  }
  const rows = used.map(({ work }) => {
    const sums = [0, 0, 0, 0]
    for (const request of work) {
      for (const [column, value] of features(request).entries()) sums[column] = (sums[column] ?? 0) + value
    }
    return [...sums, 1]
  })
  const fit = nonNegativeLeastSquares(
    rows,
    used.map(({ nanojoules }) => Number(nanojoules)),
  )
  const [newToken = 0, newTokenContext = 0, promptToken = 0, promptTokenContext = 0, step = 0] = fit.coefficients
  return { newToken, newTokenContext, promptToken, promptTokenContext, step, r2: fit.r2, samples: fit.samples }
}
