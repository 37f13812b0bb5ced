/** One round of mixing 32 bits: the finalizer of MurmurHash3 (Appleby, public domain), a bijection. */
function mix(value: number): number {
  let mixed = value | 0
  mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85ebca6b)
  mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2ae35)
  return (mixed ^ (mixed >>> 16)) >>> 0
}

/**
 * 53 random bits as an integer, decided by the numbers given alone: no state, so any position can be asked for again.
 * Used for orders and choices of rows, where only equal chances matter.
 */
export function counterHash(...keys: readonly number[]): number {
  let high = 0x9e3779b9
  let low = 0x7f4a7c15
  for (const key of keys) {
    // Keys may exceed 32 bits; both halves count.
    high = mix(high ^ mix((key >>> 0) + 0x6d2b79f5))
    low = mix(low ^ mix(Math.floor(key / 2 ** 32) ^ high))
  }
  high = mix(high ^ low)
  return (high >>> 11) * 2 ** 32 + low
}

/** Positions `0 … count-1` in an order decided by the keys. */
export function shuffledOrder(count: number, ...keys: readonly number[]): Int32Array {
  const hashes = Float64Array.from({ length: count }, (_, index) => counterHash(...keys, index))
  const order = Int32Array.from({ length: count }, (_, index) => index)
  return order.sort((left, right) => (hashes[left] ?? 0) - (hashes[right] ?? 0) || left - right)
}
