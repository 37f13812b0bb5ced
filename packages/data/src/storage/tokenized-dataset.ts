import type { RowOrigin } from '@swift/spec'
import type { TokenSequence } from '../encoding/token-sequence.ts'
import type { TokenStore } from './token-store.ts'

/** Tokenised sequences, read by position. */
export class TokenizedDataset {
  /** Hash (hex) of everything the tokens depend on; checkpoints keep it to notice another dataset on resume. */
  readonly fingerprint: string
  readonly sequenceCount: number
  /** Tokens of all sequences. */
  readonly tokenCount: number
  /** Tokens to learn of all sequences. */
  readonly trainedTokenCount: number
  /** Tokens of the longest sequence. */
  readonly maxSequenceLength: number
  readonly hasWeights: boolean
  readonly #store: TokenStore
  readonly #files: readonly string[]
  readonly #trainedCounts: Int32Array
  readonly #trainedWeights: Float64Array

  constructor(store: TokenStore, files: readonly string[], fingerprint: string) {
    this.fingerprint = fingerprint
    this.#store = store
    this.#files = files
    this.sequenceCount = store.starts.length - 1
    this.tokenCount = store.ids.length
    this.hasWeights = store.weights.length > 0
    this.#trainedCounts = new Int32Array(this.sequenceCount)
    this.#trainedWeights = new Float64Array(this.sequenceCount)
    let longest = 0
    let trainedTokens = 0
    for (let index = 0; index < this.sequenceCount; index += 1) {
      const [start, end] = this.#bounds(index)
      let count = 0
      let weight = 0
      for (let token = start; token < end; token += 1) {
        if (store.trained[token] !== 1) continue
        count += 1
        weight += this.hasWeights ? (store.weights[token] ?? 1) : 1
      }
      this.#trainedCounts[index] = count
      this.#trainedWeights[index] = weight
      trainedTokens += count
      longest = Math.max(longest, end - start)
    }
    this.trainedTokenCount = trainedTokens
    this.maxSequenceLength = longest
  }

  /** Tokens of a sequence. */
  length(index: number): number {
    const [start, end] = this.#bounds(index)
    return end - start
  }

  /** Tokens to learn of a sequence. */
  trainedLength(index: number): number {
    return this.#trainedCounts[index] ?? 0
  }

  /** Sum of the weights of the tokens to learn of a sequence. */
  trainedWeight(index: number): number {
    return this.#trainedWeights[index] ?? 0
  }

  /** A sequence as views of the dataset's memory; do not write to them. */
  sequence(index: number): TokenSequence {
    const [start, end] = this.#bounds(index)
    const { ids, trained, weights } = this.#store
    return {
      ids: ids.subarray(start, end),
      trained: trained.subarray(start, end),
      weights: this.hasWeights ? weights.subarray(start, end) : undefined,
    }
  }

  /** Where a sequence came from. */
  origin(index: number): RowOrigin {
    const [file = 0, record = 0, line = 0] = this.#store.origins.subarray(3 * index, 3 * index + 3)
    return { file: this.#files[file] ?? '', index: record, ...(line === 0 ? {} : { line }) }
  }

  #bounds(index: number): [start: number, end: number] {
    const start = this.#store.starts[index]
    const end = this.#store.starts[index + 1]
    if (start === undefined || end === undefined) {
      throw new RangeError(`sequence ${index} of a dataset of ${this.sequenceCount}`)
    }
    return [start, end]
  }
}
