/** Bits of a weight after scaling: enough that rounding weights cannot be seen in a nanojoule of a megajoule. */
const weightBits = 53

function toInteger(weight: number, scale: number): bigint {
  return BigInt(Math.round(weight * scale))
}

/**
 * Divides an integer by weights so that the parts add up to it exactly: floors first, then one unit each to the largest
 * remainders; equal remainders go to the earlier part, so that the division is the same every time.
 * @param total what to divide, at least 0
 * @param weights finite, at least 0; all zero divides evenly
 * @returns one part for each weight
 */
export function largestRemainder(total: bigint, weights: readonly number[]): bigint[] {
  if (weights.length === 0) return []
  const largest = Math.max(...weights)
  // Scaled to integers first: from there on nothing is rounded.
  const scale = largest > 0 ? 2 ** weightBits / largest : 0
  const integers = largest > 0 ? weights.map((weight) => toInteger(weight, scale)) : weights.map(() => 1n)
  const sum = integers.reduce((left, right) => left + right, 0n)
  const parts = integers.map((weight) => (total * weight) / sum)
  const remainders = integers.map((weight, index) => ({ index, remainder: (total * weight) % sum }))
  let rest = total - parts.reduce((left, right) => left + right, 0n)
  remainders.sort((left, right) =>
    left.remainder === right.remainder ? left.index - right.index : left.remainder > right.remainder ? -1 : 1,
  )
  for (const { index } of remainders) {
    if (rest === 0n) break
    parts[index] = (parts[index] ?? 0n) + 1n
    rest -= 1n
  }
  return parts
}
