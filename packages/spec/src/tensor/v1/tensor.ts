/** Element types of tensors, and the two 4-bit weight formats. */
export type DType =
  | 'float32'
  | 'bfloat16'
  | 'float16'
  | 'int32'
  | 'uint8'
  | 'int8'
  | 'float64'
  | 'int64'
  | 'nf4'
  | 'fp4'

/** Precision of the inputs of matrix products; sums and everything else are `float32`. */
export type ComputeDType = 'float32' | 'bfloat16'

/** Block layout of a 4-bit weight. */
export interface QuantLayout {
  /** Weights that share one absmax. */
  readonly block: number
  /** Absmax values that share one nested absmax; 0 without double quantization. */
  readonly nestedBlock: number
}

/** A tensor: an integer handle into a device's table. Contiguous, row-major. */
export interface TensorHandle {
  /** Slot and generation in the native table; 0 after release. */
  readonly id: number
  /** Extents, outermost first; a scalar is `[1]`. */
  readonly shape: readonly number[]
  /** Element type or weight format. */
  readonly dtype: DType
  /** Block layout; present exactly for 4-bit formats. */
  readonly quant: QuantLayout | undefined
  /** Whether gradients flow into it while a tape records. */
  readonly requiresGrad: boolean
}

/** Recompute policy of a tape: what is kept for backward and what is computed again. */
export type RecomputePolicy = 'none' | 'selective' | 'full'
