import type { BatchSource } from './batch-source.ts'
import { evaluateBatch, type LossModel } from './micro-batch.ts'
import { RunningSums } from './running-sums.ts'
import { yieldToEventLoop } from './yield-to-event-loop.ts'

/** Batches queued before waiting for the device, so that a long evaluation does not queue all its inputs at once. */
const batchesAhead = 16

/** Loss over an evaluation set. */
export interface EvaluationResult {
  /** Loss in nats per target token, weighted as in training. */
  readonly loss: number
  /** Fraction of targets with the largest logit. */
  readonly tokenAccuracy: number
  /** Targets. */
  readonly trainedTokens: number
}

/** Loss and token accuracy over every batch of a source, without gradients and without dropout. */
export async function evaluateLoss(
  model: LossModel & { isTraining: boolean },
  source: BatchSource,
): Promise<EvaluationResult> {
  const wasTraining = model.isTraining
  let trainedWeight = 0
  let trainedTokens = 0
  using sums = new RunningSums()
  for (let batchIndex = 0; batchIndex < source.batchesPerEpoch; batchIndex += 1) {
    const position = { epoch: 0, batchIndex }
    const description = source.describe(position)
    trainedWeight += description.trainedWeight
    trainedTokens += description.trainedTokens
    model.isTraining = false
    try {
      sums.add(evaluateBatch(model, source.batch(position)))
    } finally {
      model.isTraining = wasTraining
    }
    if (batchIndex % batchesAhead === batchesAhead - 1) await model.device.flush()
    else await yieldToEventLoop()
  }
  const { lossSum, correct } = await sums.read()
  return { loss: lossSum / trainedWeight, tokenAccuracy: correct / Math.max(1, trainedTokens), trainedTokens }
}
