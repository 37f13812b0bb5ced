import type { TensorHandle } from '../../tensor/v1/index.ts'

/** A named leaf of a module. */
export interface ParameterHandle {
  /** Path in the model, as in the checkpoint, e.g. `model.layers.0.self_attn.q_proj.weight`. */
  readonly name: string
  /** Its tensor. */
  readonly value: TensorHandle
  /** Whether it is trained. */
  trainable: boolean
}

/** A linear layer of a model, as adapters and quantizers see it. */
export interface LinearLayer {
  /** Path in the model, e.g. `model.layers.0.self_attn.q_proj`. */
  readonly path: string
  /** K, extent of the input. */
  readonly inFeatures: number
  /** N, extent of the output. */
  readonly outFeatures: number
  /** Weight [N, K], dense or in a weight format. */
  readonly weight: ParameterHandle
  /** Bias [N], if the layer has one. */
  readonly bias: ParameterHandle | undefined
}

/** Batch of packed sequences. */
export interface PackedBatch {
  /** Token ids, [T]. */
  readonly inputIds: Int32Array
  /** Position of each token in its sequence, [T]. */
  readonly positions: Int32Array
  /** Start of each sequence and the end of the last, [n + 1]. */
  readonly cuSeqlens: Int32Array
  /** Target of each position, already shifted; -100 takes no part in the loss. [T] */
  readonly labels: Int32Array
  /** Weight of each target; absent means 1. [T] */
  readonly lossWeights?: Float32Array
}
