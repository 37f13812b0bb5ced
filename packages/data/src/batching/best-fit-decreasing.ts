/**
 * The smallest value not below a given one, over a changing set of values in `0 … capacity`: a bitmap with a summary
 * bitmap above it, so that a search looks at a few words instead of all values.
 */
class CapacityIndex {
  readonly #words: Uint32Array
  readonly #summary: Uint32Array

  constructor(capacity: number) {
    this.#words = new Uint32Array((capacity >>> 5) + 1)
    this.#summary = new Uint32Array((this.#words.length >>> 5) + 1)
  }

  add(value: number): void {
    const word = value >>> 5
    this.#words[word] = (this.#words[word] ?? 0) | (1 << (value & 31))
    this.#summary[word >>> 5] = (this.#summary[word >>> 5] ?? 0) | (1 << (word & 31))
  }

  remove(value: number): void {
    const word = value >>> 5
    const rest = (this.#words[word] ?? 0) & ~(1 << (value & 31))
    this.#words[word] = rest
    if (rest === 0) this.#summary[word >>> 5] = (this.#summary[word >>> 5] ?? 0) & ~(1 << (word & 31))
  }

  /** -1 when there is none. */
  ceiling(value: number): number {
    const word = value >>> 5
    const here = (this.#words[word] ?? 0) & (-1 << (value & 31))
    if (here !== 0) return (word << 5) + lowestBit(here)
    const nextWord = this.#nextWord(word + 1)
    return nextWord === -1 ? -1 : (nextWord << 5) + lowestBit(this.#words[nextWord] ?? 0)
  }

  #nextWord(from: number): number {
    for (let group = from >>> 5; group < this.#summary.length; group += 1) {
      const mask = group === from >>> 5 ? -1 << (from & 31) : -1
      const bits = (this.#summary[group] ?? 0) & mask
      if (bits !== 0) return (group << 5) + lowestBit(bits)
    }
    return -1
  }
}

function lowestBit(word: number): number {
  return 31 - Math.clz32(word & -word)
}

/** Positions sorted by length, longest first; equal lengths stay in the order given. */
function byDecreasingLength(order: Int32Array, lengthOf: (index: number) => number, capacity: number): Int32Array {
  // Counting sort: stable, and linear in the number of sequences.
  const starts = new Int32Array(capacity + 2)
  for (const index of order) starts[capacity - lengthOf(index) + 1] = (starts[capacity - lengthOf(index) + 1] ?? 0) + 1
  for (let slot = 1; slot < starts.length; slot += 1) starts[slot] = (starts[slot] ?? 0) + (starts[slot - 1] ?? 0)
  const sorted = new Int32Array(order.length)
  for (const index of order) {
    const slot = capacity - lengthOf(index)
    const target = starts[slot] ?? 0
    sorted[target] = index
    starts[slot] = target + 1
  }
  return sorted
}

/**
 * Packs sequences into bins of `capacity` tokens: longest first, each into the fullest bin it still fits (best-fit
 * decreasing; at most 11/9 of the best possible number of bins plus one, Johnson 1973). The number of bins depends on
 * the lengths alone; which of several equally long sequences goes where depends on `order`.
 */
export function packBestFitDecreasing(
  order: Int32Array,
  lengthOf: (index: number) => number,
  capacity: number,
): number[][] {
  const bins: number[][] = []
  const binsByRoom: number[][] = Array.from({ length: capacity + 1 }, () => [])
  const rooms = new CapacityIndex(capacity)
  const put = (bin: number, room: number): void => {
    if (room === 0) return
    binsByRoom[room]?.push(bin)
    rooms.add(room)
  }
  for (const index of byDecreasingLength(order, lengthOf, capacity)) {
    const length = lengthOf(index)
    const room = rooms.ceiling(length)
    const sameRoom = room === -1 ? undefined : binsByRoom[room]
    const bin = sameRoom?.pop()
    if (bin === undefined) {
      bins.push([index])
      put(bins.length - 1, capacity - length)
      continue
    }
    if (sameRoom?.length === 0) rooms.remove(room)
    bins[bin]?.push(index)
    put(bin, room - length)
  }
  return bins
}
