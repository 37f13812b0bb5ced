import type { Tensor } from './tensor.ts'

/** A tensor kept for backward: either a handle of its own, or a recipe that computes it again. */
export interface SavedTensor {
  /** The tensor; computed again first, where only its recipe was kept. */
  get(): Tensor
  /** Gives up this claim. */
  release(): void
}

/** One recorded op of a tape. */
export interface TapeNode {
  /** Name of the op, for profiles and messages. */
  readonly name: string
  /** Inputs in the order of the gradients that `backward` returns. */
  readonly inputs: readonly (Tensor | undefined)[]
  /** Outputs, as the objects that later ops saw. */
  readonly outputs: readonly Tensor[]
  /** Gradients of the inputs from those of the outputs. */
  backward(gradients: readonly (Tensor | undefined)[]): readonly (Tensor | undefined)[]
  /** Computes output 0 again from what the node saved; absent for ops that are not cheap. */
  readonly recompute: (() => Tensor) | undefined
  /** Output 0 computed again, while consumers hold it. */
  recomputed: { tensor: Tensor; claims: number } | undefined
  /** Frees everything saved. */
  release(): void
}
