const blocks = '▁▂▃▄▅▆▇█'

/** Means of `values` over at most `width` equal stretches, oldest first. */
function stretches(values: readonly number[], width: number): number[] {
  const count = Math.min(width, values.length)
  return Array.from({ length: count }, (_, index) => {
    const part = values.slice(
      Math.floor((index * values.length) / count),
      Math.floor(((index + 1) * values.length) / count),
    )
    return part.reduce((sum, value) => sum + value, 0) / part.length
  })
}

/**
 * A whole course of losses as blocks, oldest at the left, on a logarithmic scale: a loss that halves falls by as much
 * at the end as at the beginning. NaN and infinity are `?`.
 */
export function sparkline(values: readonly number[], width: number): string {
  const heights = stretches(values, width).map((value) => Math.log(Math.max(value, 1e-6)))
  const finite = heights.filter((height) => Number.isFinite(height))
  const low = Math.min(...finite)
  const span = Math.max(...finite) - low || 1
  return heights
    .map((height) =>
      Number.isFinite(height) ? (blocks[Math.min(7, Math.floor((8 * (height - low)) / span))] ?? '▁') : '?',
    )
    .join('')
}
