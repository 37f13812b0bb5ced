import { SwiftError } from '@swift/spec'
import type { StepNumbers } from './step-metrics.ts'

/** Stops a run whose loss or gradient is NaN or infinite. */
export class Watchdog {
  readonly #allowed: number
  #skipped: number

  /**
   * @param allowed - updates that may be skipped
   * @param skipped - updates skipped before a resume
   */
  constructor(allowed: number, skipped: number) {
    this.#allowed = allowed
    this.#skipped = skipped
  }

  /** Updates skipped so far. */
  get skipped(): number {
    return this.#skipped
  }

  /** Whether steps must be looked at before their update. */
  get looksFirst(): boolean {
    return this.#allowed > 0
  }

  /**
   * Whether the update of these numbers may be applied; counts it as skipped when not.
   * @throws `ERR_LOSS_NOT_FINITE` when no more may be skipped
   */
  admits(
    numbers: Pick<StepNumbers, 'step' | 'lossSum' | 'gradientNorm' | 'learningRate'>,
    lastCheckpoint: string | undefined,
  ): boolean {
    const { step, lossSum, gradientNorm, learningRate } = numbers
    if (Number.isFinite(lossSum) && Number.isFinite(gradientNorm)) return true
    if (this.#skipped < this.#allowed) {
      this.#skipped += 1
      return false
    }
    const what = Number.isFinite(lossSum) ? `gradient norm ${gradientNorm}` : `loss ${lossSum}`
    const kept =
      lastCheckpoint === undefined ? 'no checkpoint was written yet' : `the last good checkpoint is ${lastCheckpoint}`
    const before = this.#allowed > 0 ? ` after ${this.#skipped} skipped updates` : ''
    throw new SwiftError({
      code: 'ERR_LOSS_NOT_FINITE',
      asked: `Step ${step}`,
      found: `${what}${before}; ${kept}`,
      remedy:
        `Lower learningRate (now ${learningRate.toExponential(2)}) or maxGradNorm, use computeDtype float32, look at the rows of ` +
        'this step, or allow skipNonFiniteSteps; then resume with resumeFromCheckpoint: auto',
      details: { step, lossSum: String(lossSum), gradientNorm: String(gradientNorm) },
    })
  }
}
