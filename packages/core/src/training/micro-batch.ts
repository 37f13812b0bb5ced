import { toDeviceBatch, type DeviceBatch } from '@swift/models'
import type { PackedBatch, RecomputePolicy } from '@swift/spec'
import { keep, scope, Tape, withCategory, type Device, type RandomStream, type Tensor } from '@swift/tensor'
import type { OpenPhase } from '../energy/run-energy.ts'

/** What a trainer needs of a model: its device and the loss of a batch. */
export interface LossModel {
  /** Where it computes. */
  readonly device: Device
  /** Sum of weighted cross entropies in nats, [1], and number of targets with the largest logit, [1]. */
  loss(
    batch: DeviceBatch,
    options: { readonly recompute?: RecomputePolicy; readonly random?: RandomStream },
  ): { readonly lossSum: Tensor; readonly correct: Tensor }
}

/** How a micro-batch is run. */
export interface MicroBatchOptions {
  /** What backward computes again. */
  readonly recompute: RecomputePolicy
  /** Numbers dropout. */
  readonly random: RandomStream
  /** Sum of target weights of the whole step: every gradient is divided by it. */
  readonly stepWeight: number
  /** Phase of the epoch. */
  readonly phase: OpenPhase
}

/** Device scalars of a micro-batch; the caller releases them. */
export interface MicroBatchSums {
  /** Σ weight · cross entropy, [1]. */
  readonly lossSum: Tensor
  /** Targets with the largest logit, [1]. */
  readonly correct: Tensor
}

/**
 * Forward and backward of one micro-batch: adds d(Σ loss / stepWeight) to the gradients, so that the micro-batches of
 * a step add up to one large batch. Returns as soon as the work is queued.
 */
export function runMicroBatch(model: LossModel, batch: PackedBatch, options: MicroBatchOptions): MicroBatchSums {
  const { device } = model
  const { recompute, random, stepWeight, phase } = options
  return scope(() => {
    const inputs = withCategory('data', () => toDeviceBatch(device, batch))
    using tape = new Tape({ recompute })
    let sums: MicroBatchSums
    {
      using _forward = phase.phase('forward')
      sums = tape.record(() => {
        const { lossSum, correct } = model.loss(inputs, { recompute, random })
        return { lossSum, correct }
      })
    }
    {
      using _backward = phase.phase('backward')
      tape.backward(sums.lossSum, [device.tensor([1 / stepWeight], [1])])
    }
    keep([sums.lossSum, sums.correct])
    return sums
  })
}

/** Sums of a batch without gradients, for evaluation. */
export function evaluateBatch(model: LossModel, batch: PackedBatch): MicroBatchSums {
  return scope(() => {
    const inputs = withCategory('data', () => toDeviceBatch(model.device, batch))
    const { lossSum, correct } = model.loss(inputs, {})
    keep([lossSum, correct])
    return { lossSum, correct }
  })
}
