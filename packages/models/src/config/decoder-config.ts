import type { RopeConfig } from './rope-frequencies.ts'

/** Shape and options of a decoder, whatever its checkpoint calls them. */
export interface DecoderConfig {
  /** Entry of the architecture table, e.g. `qwen3`. */
  readonly architecture: string
  /** V. */
  readonly vocabularySize: number
  /** D. */
  readonly hiddenSize: number
  /** Width of the gated MLP. */
  readonly intermediateSize: number
  /** Number of layers. */
  readonly layerCount: number
  /** H. */
  readonly heads: number
  /** KV. */
  readonly keyValueHeads: number
  /** Extent of a head. */
  readonly headExtent: number
  /** ε of the norms. */
  readonly normEpsilon: number
  /** Whether the head is the embedding table. */
  readonly tiedHead: boolean
  /** Whether query, key and value projections have biases. */
  readonly queryKeyValueBias: boolean
  /** Whether the attention's output projection has a bias. */
  readonly outputBias: boolean
  /** Whether the MLP's projections have biases. */
  readonly mlpBias: boolean
  /** Whether queries and keys are normalised per head. */
  readonly queryKeyNorm: boolean
  /** Keys a query of each layer sees, itself included; 0 sees all. */
  readonly windows: readonly number[]
  /** Position embedding. */
  readonly rope: RopeConfig
  /** Longest position the model was made for. */
  readonly maxPositionEmbeddings: number
  /** `quantization_config`, if the weights are quantized. */
  readonly quantization: Readonly<Record<string, unknown>> | undefined
  /** The file as it is; saved beside weights. */
  readonly source: Readonly<Record<string, unknown>>
}
