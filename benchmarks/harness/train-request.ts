/** What a training child is told, ours and the peers' alike. */
export interface TrainRequest {
  /** Folder of the model. */
  readonly folder: string
  /** JSON file of token ids, enough for all steps. */
  readonly tokens: string
  readonly sequenceLength: number
  /** Packed sequences of a step. Default 1. */
  readonly sequences?: number
  /** Steps that are not measured. */
  readonly warmup: number
  /** Steps that are. */
  readonly steps: number
  /** NF4 with double quantization. */
  readonly quantize: boolean
  readonly rank: number
  /** Ours: precision of the inputs of products. Peers: dtype of the model. */
  readonly computeDtype?: 'float32' | 'bfloat16'
  /** Ours only. */
  readonly recompute?: 'none' | 'selective' | 'full'
}
