/** Course of the learning rate after warmup. */
export type ScheduleType = 'constant' | 'linear' | 'cosine' | 'cosine_with_min_lr'

/** Where `cosine_with_min_lr` ends, as a fraction of the peak. */
export const minimumLearningRateFraction = 0.1

/** What decides the learning rate of every step. */
export interface Schedule {
  /** Course after warmup. */
  readonly type: ScheduleType
  /** Highest learning rate. */
  readonly peak: number
  /** Optimizer steps of the whole run. */
  readonly totalSteps: number
  /** Steps in which the rate rises linearly from 0. */
  readonly warmupSteps: number
}

/**
 * Learning rate of one update, as the Hugging Face schedulers give it: with u updates done and w warmup steps of S,
 * `peak · u / w` while `u < w`; then with p = (u - w) / (S - w): `constant` peak, `linear` peak · (1 - p),
 * `cosine` peak · (1 + cos πp) / 2, and `cosine_with_min_lr` the same between peak and a tenth of it.
 * @param step - 1 for the first update
 */
export function learningRateAt({ type, peak, totalSteps, warmupSteps }: Schedule, step: number): number {
  const done = step - 1
  if (done < warmupSteps) return (peak * done) / Math.max(1, warmupSteps)
  const progress = Math.min(1, (done - warmupSteps) / Math.max(1, totalSteps - warmupSteps))
  const cosine = (1 + Math.cos(Math.PI * progress)) / 2
  switch (type) {
    case 'constant':
      return peak
    case 'linear':
      return peak * (1 - progress)
    case 'cosine':
      return peak * cosine
    case 'cosine_with_min_lr':
      return peak * (minimumLearningRateFraction + (1 - minimumLearningRateFraction) * cosine)
  }
}
