import { add, keep, type Tensor } from '@swift/tensor'
import type { MicroBatchSums } from './micro-batch.ts'

/** Sums of several micro-batches on the device; at most two scalars live at a time. */
export class RunningSums {
  #lossSum: Tensor | undefined
  #correct: Tensor | undefined

  /** Adds the sums of a micro-batch and releases them. */
  add({ lossSum, correct }: MicroBatchSums): void {
    this.#lossSum = combine(this.#lossSum, lossSum)
    this.#correct = combine(this.#correct, correct)
  }

  /**
   * Reads and releases them. The reads are queued at the call, behind the work that makes the values.
   */
  async read(): Promise<{ readonly lossSum: number; readonly correct: number }> {
    const tensors = [this.#lossSum, this.#correct]
    const reads = tensors.map((tensor) => tensor?.item() ?? 0)
    for (const tensor of tensors) tensor?.release()
    this.#lossSum = undefined
    this.#correct = undefined
    const [lossSum = 0, correct = 0] = await Promise.all(reads)
    return { lossSum, correct }
  }

  [Symbol.dispose](): void {
    this.#lossSum?.release()
    this.#correct?.release()
  }
}

function combine(total: Tensor | undefined, value: Tensor): Tensor {
  if (total === undefined) return value
  const sum = keep(add(total, value))
  total.release()
  value.release()
  return sum
}
