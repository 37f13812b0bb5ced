/** A line through points, and how far it may be off. */
export interface RobustLine {
  /** Median of the slopes of all pairs (Theil 1950, Sen 1968). */
  readonly slope: number
  /** Ends of the 95 % interval of the slope. */
  readonly lowSlope: number
  readonly highSlope: number
  /** Median of `y - slope * x`. */
  readonly intercept: number
  /** Half-width that holds 95 % of the points around the line, from the median absolute deviation. */
  readonly spread: number
  /** Points used. */
  readonly points: number
}

/** More points than this are thinned evenly: pairs grow with the square. */
const mostPoints = 200

/** Two-sided 95 % of the normal distribution. */
const z95 = 1.959_964

function median(sorted: readonly number[]): number {
  const middle = sorted.length / 2
  const upper = sorted[Math.floor(middle)] ?? Number.NaN
  return Number.isInteger(middle) ? ((sorted[middle - 1] ?? Number.NaN) + upper) / 2 : upper
}

/**
 * The Theil-Sen line: up to 29 % of the points may be anything (a pause, a compile, a neighbour's burst) before it moves
 * away. Its interval comes from the variance of Kendall's S.
 * @returns `undefined` for fewer than 4 points, or when all stand at one `x`
 */
export function robustLine(points: readonly { readonly x: number; readonly y: number }[]): RobustLine | undefined {
  const stride = Math.max(1, Math.ceil(points.length / mostPoints))
  const used = points.filter((_, index) => index % stride === 0 || index === points.length - 1)
  if (used.length < 4) return undefined
  const slopes: number[] = []
  for (const [index, left] of used.entries()) {
    for (const right of used.slice(index + 1)) {
      if (right.x !== left.x) slopes.push((right.y - left.y) / (right.x - left.x))
    }
  }
  if (slopes.length === 0) return undefined
  slopes.sort((left, right) => left - right)
  const slope = median(slopes)
  const count = used.length
  const range = z95 * Math.sqrt((count * (count - 1) * (2 * count + 5)) / 18)
  const low = Math.max(0, Math.floor((slopes.length - range) / 2))
  const high = Math.min(slopes.length - 1, Math.ceil((slopes.length + range) / 2))
  const offsets = used.map(({ x, y }) => y - slope * x).sort((left, right) => left - right)
  const intercept = median(offsets)
  const deviations = offsets.map((offset) => Math.abs(offset - intercept)).sort((left, right) => left - right)
  return {
    slope,
    lowSlope: slopes[low] ?? slope,
    highSlope: slopes[high] ?? slope,
    intercept,
    // 1.4826 makes it the standard deviation of normal noise.
    spread: z95 * 1.4826 * median(deviations),
    points: used.length,
  }
}
