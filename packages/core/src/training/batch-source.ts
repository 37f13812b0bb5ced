import type { BatchDescription, BatchPlan, BatchPlanOptions, DataPosition } from '@swift/data'
import { SwiftError, type PackedBatch } from '@swift/spec'

/** Batches of every epoch, by position. `BatchPlan` of `@swift/data` over a tokenised dataset is one. */
export interface BatchSource {
  /** Hash of the data and of everything that decides its batches; a resumed run must have the same. */
  readonly fingerprint: string
  /** The same in every epoch. */
  readonly batchesPerEpoch: number
  /** Sequences of one epoch. */
  readonly sequencesPerEpoch: number
  /** Tokens of one epoch. */
  readonly tokensPerEpoch: number
  /** What a batch holds, without building it. */
  describe(position: DataPosition): BatchDescription
  /** The batch at a position. */
  batch(position: DataPosition): PackedBatch
}

/**
 * The batches of a plan over a tokenised dataset.
 * @param options - what the plan was made with; part of the fingerprint, since they decide the batches
 */
export function batchesOfPlan(plan: BatchPlan, options: BatchPlanOptions): BatchSource {
  const { dataset } = plan
  const { maxLength, packing, batchSize, seed } = options
  return {
    fingerprint: `${dataset.fingerprint}/${maxLength}/${packing === true ? 'packed' : 'single'}/${batchSize}/${seed}`,
    batchesPerEpoch: plan.batchesPerEpoch,
    sequencesPerEpoch: dataset.sequenceCount,
    tokensPerEpoch: dataset.tokenCount,
    describe: (position) => plan.describe(position),
    batch: (position) => {
      const { inputIds, positions, cuSeqlens, labels, lossWeights } = plan.batch(position)
      return { inputIds, positions, cuSeqlens, labels, ...(lossWeights === undefined ? {} : { lossWeights }) }
    },
  }
}

function describeBatch({ inputIds, labels, cuSeqlens, lossWeights }: PackedBatch): BatchDescription {
  let trainedTokens = 0
  let trainedWeight = 0
  for (const [index, label] of labels.entries()) {
    if (label < 0) continue
    trainedTokens += 1
    trainedWeight += lossWeights?.[index] ?? 1
  }
  return { tokens: inputIds.length, trainedTokens, trainedWeight, sequences: cuSeqlens.length - 1 }
}

/**
 * The same batches in the same order in every epoch: for tests and for data that comes from elsewhere.
 * @param fingerprint - names the data, so that a checkpoint is not resumed on other data
 * @throws `ERR_DATASET_EMPTY`
 */
export function fixedBatches(batches: readonly PackedBatch[], fingerprint: string): BatchSource {
  const descriptions = batches.map(describeBatch)
  if (batches.length === 0) {
    throw new SwiftError({
      code: 'ERR_DATASET_EMPTY',
      asked: 'Training on fixed batches',
      found: 'there are none',
      remedy: 'Give at least one batch',
    })
  }
  return {
    fingerprint,
    batchesPerEpoch: batches.length,
    sequencesPerEpoch: descriptions.reduce((sum, { sequences }) => sum + sequences, 0),
    tokensPerEpoch: descriptions.reduce((sum, { tokens }) => sum + tokens, 0),
    describe: ({ batchIndex }) => descriptions[batchIndex] as BatchDescription,
    batch: ({ batchIndex }) => batches[batchIndex] as PackedBatch,
  }
}
