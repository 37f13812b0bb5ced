/**
 * The counter that numbers random draws: with the seed it fixes every draw, so that a checkpoint of two integers
 * restores the stream exactly, and recomputation repeats a dropout mask by restoring the counter.
 */
export class RandomStream {
  readonly seed: number
  /** Number of streams drawn so far. */
  counter: number

  constructor(seed: number, counter = 0) {
    this.seed = seed
    this.counter = counter
  }

  /** A fresh 52-bit key for one op; equal (seed, counter) give equal keys. */
  next(): number {
    this.counter += 1
    return mix(this.seed, this.counter)
  }
}

const multiplier = 0x9e3779b97f4a7c15n
const mask = (1n << 64n) - 1n

/** SplitMix64 of (seed, counter), upper 52 bits, so that it is exact as a JavaScript number. */
function mix(seed: number, counter: number): number {
  let state = (BigInt(seed) * multiplier + BigInt(counter) * 0xd1b54a32d192ed03n) & mask
  state = ((state ^ (state >> 30n)) * 0xbf58476d1ce4e5b9n) & mask
  state = ((state ^ (state >> 27n)) * 0x94d049bb133111ebn) & mask
  return Number((state ^ (state >> 31n)) >> 12n)
}
