import type { ParameterHandle } from '@swift/spec'
import { clearGradient, gradientOf, type Tensor } from '@swift/tensor'

/** A parameter that a run updates, under a name that is unique in the model. */
export interface Trainable {
  /** Path in the model, e.g. `model.layers.0.self_attn.q_proj.lora_A.weight`. */
  readonly name: string
  /** The parameter. Its tensor may be replaced, so it is read anew at each use. */
  readonly parameter: ParameterHandle
  /** Learning rate relative to the run's. */
  readonly learningRateFactor: number
}

/** The tensor of a trainable. */
export function tensorOf({ parameter }: Trainable): Tensor {
  return parameter.value as Tensor
}

/** Trainables with the gradients of this step; those the loss does not reach are left out. */
export function withGradients(
  trainables: readonly Trainable[],
): readonly { readonly trainable: Trainable; readonly value: Tensor; readonly gradient: Tensor }[] {
  return trainables.flatMap((trainable) => {
    const value = tensorOf(trainable)
    const gradient = gradientOf(value)
    return gradient === undefined ? [] : [{ trainable, value, gradient }]
  })
}

/** Frees the gradients of all trainables. */
export function clearGradients(trainables: readonly Trainable[]): void {
  for (const trainable of trainables) clearGradient(tensorOf(trainable))
}
