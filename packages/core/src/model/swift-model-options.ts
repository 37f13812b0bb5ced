import type { Ledger } from '@swift/energy'
import type { ComputeDType, Plugin } from '@swift/spec'

/** What is trained: an adapter's type and its options, `qlora` (lora over 4-bit weights), or `full`. */
export interface SwiftConfig {
  /** `lora`, `qlora`, `full`, or the id of a plugin's adapter. */
  readonly type: string
  /** Rank of a low-rank adapter. */
  readonly r?: number
  /** Scale α of a low-rank adapter. */
  readonly loraAlpha?: number
  /** Dropout on the adapter's input while training. */
  readonly loraDropout?: number
  /** Layers by last parts of their paths, or `all-linear`. */
  readonly targetModules?: readonly string[] | string
  /** Further options of the adapter's own table. */
  readonly [option: string]: unknown
}

/** How {@link SwiftModel.fromPretrained} loads a model. */
export interface SwiftModelOptions {
  /** Device that computes. Default `cpu`. */
  readonly device?: 'cpu' | 'oracle' | 'meta'
  /** Storage of frozen weights. Default `auto`: as in the files. Trained weights are float32. */
  readonly dtype?: 'auto' | 'float32' | 'bfloat16' | 'float16'
  /** Precision of the inputs of matrix products. Default: the device's, bfloat16 where the CPU multiplies it. */
  readonly computeDtype?: ComputeDType
  /** Quantize frozen linear weights to 4 bits while loading. Default: whether `config.type` is `qlora`. */
  readonly loadIn4bit?: boolean
  /** Code book of 4-bit weights. Default `nf4`. */
  readonly bnb4bitQuantType?: 'nf4' | 'fp4'
  /** Quantize block scales too. Default true. */
  readonly bnb4bitUseDoubleQuant?: boolean
  /** What to train. Default: nothing, a model for inference. */
  readonly config?: SwiftConfig
  /** Folder of a saved adapter to use or to continue with. */
  readonly adapter?: string
  /** Plugins to register first. */
  readonly plugins?: readonly Plugin[]
  /** Seed of the adapter's initial values. Default 42. */
  readonly seed?: number
  /** Ledger whose phase `load` the loading belongs to. */
  readonly ledger?: Ledger
  /** Progress of the loading, in tensors. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void
}
