/** A mean with its 95 % interval. */
export interface BootstrapMean {
  /** Mean of the values. */
  readonly mean: number
  /** Lower end of the interval. */
  readonly low: number
  /** Upper end of the interval. */
  readonly high: number
}

/** 32-bit generator of Marsaglia (xorshift, 2003): resampling must be the same in every run. */
function generator(seed: number): () => number {
  let state = seed >>> 0 || 1
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

/**
 * Mean and percentile interval from resampling with replacement (Efron 1979).
 * @throws RangeError without values
 */
export function bootstrapMean(
  values: readonly number[],
  { draws, seed }: { readonly draws: number; readonly seed: number },
): BootstrapMean {
  const { length } = values
  if (length === 0) throw new RangeError('a bootstrap needs values')
  const random = generator(seed)
  const mean = (of: (index: number) => number): number => {
    let sum = 0
    for (let index = 0; index < length; index++) sum += of(index)
    return sum / length
  }
  const means = Array.from({ length: draws }, () => mean(() => values[Math.floor(random() * length)] as number))
  means.sort((left, right) => left - right)
  const at = (fraction: number): number => means[Math.min(draws - 1, Math.floor(fraction * draws))] as number
  return { mean: mean((index) => values[index] as number), low: at(0.025), high: at(0.975) }
}
