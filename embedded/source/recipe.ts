/** Shape of the base model; every matrix has sides that are multiples of 64, the block size of NF4. */
export interface ModelShape {
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly layers: number
  readonly heads: number
  readonly keyValueHeads: number
  readonly headDimension: number
  readonly maxPositions: number
  /** Standard deviation of the normal initial weights. */
  readonly initialStandardDeviation: number
}

/** Everything that decides what is generated and how the base model is pre-trained. */
export const recipe = {
  /** Seed of the world, the texts, the initial weights and the order of training. */
  seed: 7,
  vocabularySize: 1536,
  /** Documents of the corpus that the tokenizer is trained on. */
  tokenizerDocuments: 20_000,
  /** Documents of the pre-training corpus. */
  documents: 220_000,
  shape: {
    hiddenSize: 128,
    intermediateSize: 384,
    layers: 4,
    heads: 4,
    keyValueHeads: 2,
    headDimension: 32,
    maxPositions: 512,
    initialStandardDeviation: 0.02,
  },
  pretraining: {
    maxSteps: 4_500,
    /** Packed rows of maxLength tokens in one optimizer step. */
    rowsPerStep: 4,
    maxLength: 512,
    learningRate: 3e-3,
    warmupRatio: 0.04,
    weightDecay: 0.01,
    saveSteps: 500,
  },
} as const
