import type { PackedBatch, RecomputePolicy } from '@swift/spec'
import { RandomStream, type MemoryCategory } from '@swift/tensor'
import { RunEnergy } from '../energy/run-energy.ts'
import { runMicroBatch, type LossModel } from '../training/micro-batch.ts'
import { RunningSums } from '../training/running-sums.ts'
import { clearGradients, type Trainable } from '../training/trainable.ts'
import { applyUpdate, clip, type UpdateRule } from '../training/update.ts'

/** Memory of a run at its highest moment. */
export interface MemoryForecast {
  /** Bytes of tensors and scratch at the peak. */
  readonly peakBytes: number
  /** Bytes of live tensors at the peak, by what they are for. */
  readonly byCategory: Readonly<Record<MemoryCategory, number>>
  /** Scratch bytes of the op that runs at the peak. */
  readonly workspaceBytes: number
  /** Bytes of the model before the first step. */
  readonly modelBytes: number
}

/** Counts of one micro-batch, forward and backward. */
export interface WorkForecast {
  /** Floating-point operations; a multiply-add is two. */
  readonly flops: number
  /** Bytes moved by ops. */
  readonly bytesMoved: number
  /** Ops called. */
  readonly ops: number
}

/** A model on the `meta` device with what a step needs. */
export interface MetaRun {
  /** The model's twin on `meta`. */
  readonly model: LossModel
  /** Its trained parameters. */
  readonly trainables: readonly Trainable[]
  /** Update rule with state of its own. */
  readonly rule: UpdateRule
}

const unmetered = RunEnergy.none('a forecast uses no energy worth a phase')

function runOnMeta({ model }: MetaRun, batch: PackedBatch, recompute: RecomputePolicy, count: number): void {
  using sums = new RunningSums()
  using phase = unmetered.phase('plan')
  const random = new RandomStream(0)
  for (let index = 0; index < count; index += 1) {
    sums.add(runMicroBatch(model, batch, { recompute, random, stepWeight: 1, phase }))
  }
}

/** Releases the state that a forecast made. */
function releaseState({ state }: UpdateRule): void {
  for (const tensors of state.values()) for (const tensor of tensors.values()) tensor.release()
  state.clear()
}

/**
 * Peak memory of an optimizer step over the longest batch, found by running the very step on `meta`: once to make the
 * optimizer's state, then again for the peak. Two micro-batches stand for any number above one, since only the
 * gradients outlive them.
 */
export function forecastMemory(
  run: MetaRun,
  longest: PackedBatch,
  recompute: RecomputePolicy,
  microBatches: number,
): MemoryForecast {
  const { device } = run.model
  const modelBytes = device.statistics().liveBytes
  const step = (update: number): void => {
    runOnMeta(run, longest, recompute, Math.min(2, microBatches))
    clip(run.trainables, run.rule.maxGradNorm)?.release()
    applyUpdate(run.rule, run.trainables, 0, update)
    clearGradients(run.trainables)
  }
  try {
    step(1)
    device.resetStatistics()
    step(2)
    const { peakBytes, peakByCategory, workspaceBytesAtPeak } = device.statistics()
    return { peakBytes, byCategory: peakByCategory, workspaceBytes: workspaceBytesAtPeak, modelBytes }
  } finally {
    clearGradients(run.trainables)
    releaseState(run.rule)
  }
}

/** Counts of forward and backward of one batch. */
export function forecastWork(run: MetaRun, batch: PackedBatch, recompute: RecomputePolicy): WorkForecast {
  const { device } = run.model
  device.resetStatistics()
  try {
    runOnMeta(run, batch, recompute, 1)
    const { flops, bytesMoved, ops } = device.statistics()
    return { flops, bytesMoved, ops }
  } finally {
    clearGradients(run.trainables)
  }
}

/** One sequence of `tokens` with a target everywhere: the worst a batch of that length can be. */
export function worstBatch(tokens: number): PackedBatch {
  return {
    inputIds: new Int32Array(tokens),
    positions: Int32Array.from({ length: tokens }, (_, index) => index),
    cuSeqlens: Int32Array.of(0, tokens),
    labels: new Int32Array(tokens),
  }
}
