import type { TokenSequence } from '../encoding/token-sequence.ts'

/** Where a sequence came from: a file (by position in the list of files), a record, and its line where it has one. */
export interface SequenceOrigin {
  readonly fileIndex: number
  readonly recordIndex: number
  /** From 1; 0 when the format has no lines. */
  readonly line: number
}

/** Sequences in a few large arrays, as the cache file holds them. */
export interface TokenStore {
  /** Tokens of all sequences, one after the other. */
  readonly ids: Int32Array
  /** As `TokenSequence.trained`, concatenated. */
  readonly trained: Uint8Array
  /** Weights of all tokens; empty when all are 1. */
  readonly weights: Float32Array
  /** Where sequence i begins; one entry more for the end, `[n + 1]`. Doubles, since there may be more than 2^32 tokens. */
  readonly starts: Float64Array
  /** `[n * 3]`: file, record and line of each sequence. */
  readonly origins: Int32Array
}

type Growable = Int32Array | Uint8Array | Float32Array

/** Appends to an array that doubles when full. */
class GrowingArray<T extends Growable> {
  #array: T
  readonly #create: (length: number) => T
  length = 0

  constructor(create: (length: number) => T) {
    this.#create = create
    this.#array = create(1024)
  }

  push(values: ArrayLike<number>): void {
    this.#reserve(values.length)
    this.#array.set(values, this.length)
    this.length += values.length
  }

  pushRepeated(value: number, count: number): void {
    this.#reserve(count)
    this.#array.fill(value, this.length, this.length + count)
    this.length += count
  }

  finish(): T {
    const exact = this.#create(this.length)
    exact.set(this.#array.subarray(0, this.length))
    return exact
  }

  #reserve(count: number): void {
    if (this.length + count <= this.#array.length) return
    const larger = this.#create(Math.max(2 * this.#array.length, this.length + count))
    larger.set(this.#array)
    this.#array = larger
  }
}

/** Gathers sequences into a `TokenStore`. */
export class TokenStoreBuilder {
  readonly #ids: GrowingArray<Int32Array> = new GrowingArray((length) => new Int32Array(length))
  readonly #trained: GrowingArray<Uint8Array> = new GrowingArray((length) => new Uint8Array(length))
  readonly #weights: GrowingArray<Float32Array> = new GrowingArray((length) => new Float32Array(length))
  readonly #origins: GrowingArray<Int32Array> = new GrowingArray((length) => new Int32Array(length))
  readonly #starts: number[] = [0]

  push({ ids, trained, weights }: TokenSequence, { fileIndex, recordIndex, line }: SequenceOrigin): void {
    // Weights begin with the first sequence that has any; those before it weigh 1.
    if (weights !== undefined) {
      this.#weights.pushRepeated(1, this.#ids.length - this.#weights.length)
      this.#weights.push(weights)
    }
    this.#ids.push(ids)
    this.#trained.push(trained)
    this.#origins.push([fileIndex, recordIndex, line])
    this.#starts.push(this.#ids.length)
  }

  get tokenCount(): number {
    return this.#ids.length
  }

  finish(): TokenStore {
    if (this.#weights.length > 0) this.#weights.pushRepeated(1, this.#ids.length - this.#weights.length)
    return {
      ids: this.#ids.finish(),
      trained: this.#trained.finish(),
      weights: this.#weights.finish(),
      starts: Float64Array.from(this.#starts),
      origins: this.#origins.finish(),
    }
  }
}
