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

/** An optimizer step as it runs on `meta`. */
export interface StepForecast {
  /** Memory at its highest moment. */
  readonly memory: MemoryForecast
  /** Ops of forward and backward of one micro-batch, in order. */
  readonly batchOps: readonly OpWork[]
  /** Ops of clipping and update, which no batch changes. */
  readonly updateOps: readonly OpWork[]
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

/** What `body` queues on a device, recorded; nothing else runs there meanwhile. */
function record(device: Device, body: () => void): Promise<readonly OpWork[]> {
  const earlier = device.recordOps(true)
  let ops: Promise<readonly OpWork[]>
  try {
    body()
  } finally {
    ops = device.recordOps(false)
  }
  return Promise.all([ops, earlier]).then(([recorded]) => recorded)
}

/**
 * An optimizer step over the longest batch, found by running the very step on `meta`: once to make the optimizer's
 * state, then again for the peak. Two micro-batches stand for any number above one, since only the gradients outlive
 * them.
 */
export async function forecastStep(
  run: MetaRun,
  longest: PackedBatch,
  recompute: RecomputePolicy,
  microBatches: number,
): Promise<StepForecast> {
  const { device } = run.model
  const modelBytes = device.statistics().liveBytes
  const update = (count: number): void => {
    clip(run.trainables, run.rule.maxGradNorm)?.release()
    applyUpdate(run.rule, run.trainables, 0, count)
  }
  // Nothing is awaited before all is released: the figures are those of the whole device.
  let ofBatch: Promise<readonly OpWork[]>
  let ofUpdate: Promise<readonly OpWork[]>
  let memory: MemoryForecast
  try {
    ofBatch = record(device, () => runOnMeta(run, longest, recompute, 1))
    update(1)
    clearGradients(run.trainables)
    device.resetStatistics()
    runOnMeta(run, longest, recompute, Math.min(2, microBatches))
    ofUpdate = record(device, () => update(2))
    const { peakBytes, peakByCategory, workspaceBytesAtPeak } = device.statistics()
    memory = { peakBytes, byCategory: peakByCategory, workspaceBytes: workspaceBytesAtPeak, modelBytes }
  } finally {
    clearGradients(run.trainables)
    releaseState(run.rule)
  }
  const [batchOps, updateOps] = await Promise.all([ofBatch, ofUpdate])
  return { memory, batchOps, updateOps }
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

/** Counts and time of ops of a step over a batch. */
export function timeOps(ops: readonly OpWork[], times: OpTimes, batch: PackedBatch): TimedWork {
  const total = { flops: 0, bytesMoved: 0, ops: ops.length, seconds: 0 }
  // Layers repeat each other.
  const known = new Map<string, number>()
  for (const op of ops) {
    const key = `${op.name} ${op.operands} ${op.flops} ${op.bytes}`
    const seconds = known.get(key) ?? times.secondsOf(op, batch.inputIds.length, shareOf(op, batch))
    known.set(key, seconds)
    total.flops += op.flops
    total.bytesMoved += op.bytes
    total.seconds += seconds
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

/** One sequence of `tokens` with a target everywhere: the worst a batch of that length can be. */
export function worstBatch(tokens: number): PackedBatch {
  return {
    inputIds: new Int32Array(tokens),
    positions: Int32Array.from({ length: tokens }, (_, index) => index),
    cuSeqlens: Int32Array.of(0, tokens),
    labels: new Int32Array(tokens),
  }
}
