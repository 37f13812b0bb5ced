import { SwiftError } from '@swift/spec'
import { Program, type Parameter, type Tensor } from '@swift/tensor'
import type { CausalLM, DecodeBatch } from '../network/causal-lm.ts'
import type { KeyValueCache } from '../network/key-value-cache.ts'
import type { Linear } from '../network/linear.ts'

/**
 * Passes through a model with a cache. Those of one token per sequence are recorded as a {@link Program}, which is made
 * anew when the number of sequences, an adapter or a weight changes between two tokens.
 */
export class DecodeSteps implements Disposable {
  readonly #model: CausalLM
  readonly #cache: KeyValueCache
  readonly #linears: readonly Linear[]
  readonly #parameters: readonly Parameter[]
  #program: Program | undefined
  /** What the program was recorded with. */
  #sequences = 0
  #adapters: readonly Linear['adapter'][] = []
  #values: readonly Tensor[] = []
  /** Set where an adapter does more than a program can hold. */
  #isPlain = false

  constructor(model: CausalLM, cache: KeyValueCache) {
    this.#model = model
    this.#cache = cache
    this.#linears = model.linears({ head: true })
    this.#parameters = model.parameters()
  }

  /** As {@link CausalLM.decode}. */
  logits(batch: Required<DecodeBatch>): Tensor {
    const { inputIds, slots, positions, rows } = batch
    const sequences = rows.elements
    if (this.#isPlain || inputIds.elements !== sequences) return this.#model.decode(this.#cache, batch)
    const inputs = [inputIds, slots, positions, rows]
    if (this.#program !== undefined && this.#isCurrent(sequences)) return this.#program.run(inputs)[0] as Tensor
    this.#program?.[Symbol.dispose]()
    this.#program = undefined
    try {
      const { program, outputs } = Program.record(this.#model.device, inputs, () => [
        this.#model.decode(this.#cache, batch),
      ])
      this.#program = program
      this.#sequences = sequences
      this.#adapters = this.#linears.map(({ adapter }) => adapter)
      this.#values = this.#parameters.map(({ value }) => value)
      return outputs[0] as Tensor
    } catch (error) {
      if (!(error instanceof SwiftError) || error.code !== 'ERR_PROGRAM_CALL') throw error
      process.emitWarning(`Each token is encoded anew, which takes a few per cent longer: ${error.message}`, {
        code: 'SWIFT_DECODE_NOT_RECORDED',
      })
      this.#isPlain = true
      // The same tokens again: their keys and values are written to the same places.
      return this.#model.decode(this.#cache, batch)
    }
  }

  #isCurrent(sequences: number): boolean {
    return (
      sequences === this.#sequences &&
      this.#linears.every(({ adapter }, index) => adapter === this.#adapters[index]) &&
      this.#parameters.every(({ value }, index) => value === this.#values[index])
    )
  }

  [Symbol.dispose](): void {
    this.#program?.[Symbol.dispose]()
    this.#program = undefined
  }
}
