/** Rounds of one measurement in brief. */
export interface Summary {
  /** Middle value; the mean of the two middle ones for an even count. */
  readonly median: number
  /** Least. */
  readonly min: number
  /** Greatest. */
  readonly max: number
  /** Number of rounds. */
  readonly count: number
}

/** Median, least and greatest of the rounds of one measurement. @throws RangeError without any, or with one that is not finite */
export function summarise(values: readonly number[]): Summary {
  const sorted = values.toSorted((left, right) => left - right)
  const [min] = sorted
  const max = sorted.at(-1)
  if (min === undefined || max === undefined || !sorted.every(Number.isFinite)) {
    throw new RangeError(`a summary needs finite values, got [${values.join(', ')}]`)
  }
  const middle = sorted.length / 2
  const median =
    sorted.length % 2 === 1
      ? (sorted[Math.floor(middle)] as number)
      : ((sorted[middle - 1] as number) + (sorted[middle] as number)) / 2
  return { median, min, max, count: sorted.length }
}
