import { clearGradient, gradientOf } from './tape.ts'
import type { Tensor } from './tensor.ts'

/** A named leaf tensor of a module: trained when `trainable`, else frozen and without gradient work. */
export class Parameter {
  /** Path in the model, as in the checkpoint. */
  readonly name: string
  #value: Tensor

  constructor(name: string, value: Tensor, trainable = false) {
    this.name = name
    this.#value = value.detachFromScope()
    value.requiresGrad = trainable
  }

  /** The tensor. */
  get value(): Tensor {
    return this.#value
  }

  /** Whether it is trained. */
  get trainable(): boolean {
    return this.#value.requiresGrad
  }

  set trainable(trainable: boolean) {
    this.#value.requiresGrad = trainable
    if (!trainable) clearGradient(this.#value)
  }

  /** The gradient accumulated since the last {@link Parameter.clearGradient}. */
  get gradient(): Tensor | undefined {
    return gradientOf(this.#value)
  }

  /** Frees the gradient. */
  clearGradient(): void {
    clearGradient(this.#value)
  }

  /** Replaces the tensor, releasing the old one; whether it is trained carries over. */
  replace(value: Tensor): void {
    const trainable = this.trainable
    this.clearGradient()
    this.#value.release()
    this.#value = value.detachFromScope()
    value.requiresGrad = trainable
  }

  [Symbol.dispose](): void {
    this.clearGradient()
    this.#value.release()
  }
}
