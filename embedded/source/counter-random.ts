/** Draws that depend only on (seed, stream, index), so any part of the generated text can be made again on its own. */
export interface CounterRandom {
  /** The next 32 random bits, as an unsigned integer. */
  next(): number
  /** A whole number in [0, limit). */
  below(limit: number): number
  /** True with the given probability. */
  chance(probability: number): boolean
  /** One element of a list that is not empty. */
  pick<T>(list: readonly T[]): T
  /** A shuffled copy (Fisher-Yates). */
  shuffled<T>(list: readonly T[]): T[]
}

/** MurmurHash3's 32-bit finalizer (Appleby, public domain): every input bit changes every output bit with p ≈ 0.5. */
function mix(value: number): number {
  let bits = value >>> 0
  bits = Math.imul(bits ^ (bits >>> 16), 0x85ebca6b)
  bits = Math.imul(bits ^ (bits >>> 13), 0xc2b2ae35)
  return (bits ^ (bits >>> 16)) >>> 0
}

/** FNV-1a over UTF-16 units; names a stream. */
function hashName(name: string): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < name.length; index += 1) hash = Math.imul(hash ^ name.charCodeAt(index), 0x01000193)
  return hash >>> 0
}

/**
 * A generator for one named stream. The same seed and name give the same draws on every machine.
 * @param seed any integer below 2^32
 * @param name distinguishes streams of one seed, such as `corpus/17`
 */
export function createCounterRandom(seed: number, name: string): CounterRandom {
  const key = mix(mix(seed) ^ hashName(name))
  let counter = 0
  const next = (): number => {
    counter += 1
    return mix(mix(key + Math.imul(counter, 0x9e3779b9)) ^ key)
  }
  const below = (limit: number): number => Math.floor((next() / 0x1_0000_0000) * limit)
  const shuffled = <T>(list: readonly T[]): T[] => {
    const copy = [...list]
    for (let last = copy.length - 1; last > 0; last -= 1) {
      const other = below(last + 1)
      const held = copy[last] as T
      copy[last] = copy[other] as T
      copy[other] = held
    }
    return copy
  }
  return {
    next,
    below,
    shuffled,
    chance: (probability) => next() / 0x1_0000_0000 < probability,
    pick: <T>(list: readonly T[]): T => {
      if (list.length === 0) throw new RangeError('pick() needs a list that is not empty')
      return list[below(list.length)] as T
    },
  }
}
