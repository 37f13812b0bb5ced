import type { PackedBatch, RecomputePolicy } from '@swift/spec'
import { RandomStream, type Device, type MemoryCategory } from '@swift/tensor'
import { RunEnergy } from '../energy/run-energy.ts'
import { runMicroBatch, type LossModel } from '../training/micro-batch.ts'
import { RunningSums } from '../training/running-sums.ts'
import { clearGradients, type Trainable } from '../training/trainable.ts'
import { applyUpdate, clip, type UpdateRule } from '../training/update.ts'
import type { OpTimes, OpWork } from './op-times.ts'

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

/** Counts of work. */
export interface WorkForecast {
  /** Floating-point operations; a multiply-add is two. */
  readonly flops: number
  /** Bytes moved by ops. */
  readonly bytesMoved: number
  /** Ops called. */
  readonly ops: number
}

/** Counts of work with the time it takes. */
export interface TimedWork extends WorkForecast {
  /** Seconds, by the times of its ops. */
  readonly seconds: number
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

async function record(device: Device, body: () => void): Promise<readonly OpWork[]> {
  await device.recordOps(true)
  let ops: Promise<readonly OpWork[]>
  try {
    body()
  } finally {
    ops = device.recordOps(false)
  }
  return ops
}

/** Part of an op's declared work that the contents of a batch leave: the declaration sees shapes alone. */
function shareOf({ name }: OpWork, batch: PackedBatch): number {
  const tokens = Math.max(1, batch.inputIds.length)
  if (name === 'attention' || name === 'attentionBackward') {
    const { cuSeqlens } = batch
    let pairs = 0
    for (let index = 1; index < cuSeqlens.length; index += 1) {
      pairs += ((cuSeqlens[index] ?? 0) - (cuSeqlens[index - 1] ?? 0)) ** 2
    }
    return Math.min(1, pairs / tokens ** 2)
  }
  if (name === 'linearCrossEntropy') return batch.labels.reduce((sum, label) => sum + (label < 0 ? 0 : 1), 0) / tokens
  return 1
}

function timed(ops: readonly OpWork[], times: OpTimes, batch: PackedBatch): TimedWork {
  const total = { flops: 0, bytesMoved: 0, ops: ops.length, seconds: 0 }
  for (const op of ops) {
    total.flops += op.flops
    total.bytesMoved += op.bytes
    total.seconds += times.secondsOf(op, batch.inputIds.length, shareOf(op, batch))
  }
  return total
}

/** Ops of forward and backward of one batch, in order. */
export async function opsOfBatch(
  run: MetaRun,
  batch: PackedBatch,
  recompute: RecomputePolicy,
): Promise<readonly OpWork[]> {
  try {
    return await record(run.model.device, () => runOnMeta(run, batch, recompute, 1))
  } finally {
    clearGradients(run.trainables)
  }
}

/** Counts and time of forward and backward of one batch. */
export async function forecastBatch(
  run: MetaRun,
  batch: PackedBatch,
  recompute: RecomputePolicy,
  times: OpTimes,
): Promise<TimedWork> {
  return timed(await opsOfBatch(run, batch, recompute), times, batch)
}

/** Counts and time of clipping and update, which no batch changes. */
export async function forecastUpdate(run: MetaRun, batch: PackedBatch, times: OpTimes): Promise<TimedWork> {
  try {
    runOnMeta(run, batch, 'none', 1)
    const ops = await record(run.model.device, () => {
      clip(run.trainables, run.rule.maxGradNorm)?.release()
      applyUpdate(run.rule, run.trainables, 0, 1)
    })
    return timed(ops, times, batch)
  } finally {
    clearGradients(run.trainables)
    releaseState(run.rule)
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
