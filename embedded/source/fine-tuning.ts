/** The fine-tune that the embedded default is made for: QLoRA (NF4, double quantization) in the quickstart's settings. */
export const fineTuning = {
  numTrainEpochs: 5,
  learningRate: 3e-3,
  warmupRatio: 0.05,
  weightDecay: 0,
  loraRank: 16,
  loraAlpha: 32,
  loraDropout: 0,
  maxLength: 512,
  /** Packed rows of maxLength tokens in one optimizer step. */
  rowsPerStep: 1,
} as const
