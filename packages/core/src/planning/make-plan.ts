import { factorOrStatic, type Ledger, type Phase } from '@swift/energy'
import type { EnergySplit, PackedBatch } from '@swift/spec'
import { describeCpu } from '@swift/tensor'
import type { DataPosition } from '@swift/data'
import type { RunCarbon } from '../energy/run-carbon.ts'
import type { RunEnergy } from '../energy/run-energy.ts'
import type { SwiftModel } from '../model/swift-model.ts'
import type { TrainerArguments } from '../options/trainer-arguments.ts'
import type { BatchSource } from '../training/batch-source.ts'
import type { RunLength } from '../training/run-length.ts'
import { tensorOf } from '../training/trainable.ts'
import type { UpdateRule } from '../training/update.ts'
import { chooseRecompute, type MemoryChoice } from './choose-recompute.ts'
import { probeMachine, type ProbedMachine, type ProbeRequest } from './machine-probe.ts'
import { OpTimes } from './op-times.ts'
import { opsOfBatch, timeOps, worstBatch, type MetaRun, type TimedWork } from './step-forecast.ts'
import { TrainingPlan, type PowerForecast } from './training-plan.ts'

/** What a plan is made from. */
export interface PlanRequest {
  /** The model. */
  readonly model: SwiftModel
  /** Arguments of the run. */
  readonly args: TrainerArguments
  /** Data of the run. */
  readonly source: BatchSource
  /** Steps of the run. */
  readonly length: RunLength
  /** Peak learning rate. */
  readonly learningRate: number
  /** Update rule; its state is not touched. */
  readonly rule: UpdateRule
  /** Where the power comes from. */
  readonly energy: RunEnergy
  /** Where the grid factor comes from. */
  readonly carbon: RunCarbon
  /** What measures the machine. Default: {@link probeMachine}. */
  readonly probeMachine?: (request: ProbeRequest) => Promise<ProbedMachine>
}

/** Batches of one epoch that are run on `meta` for the work of a step. */
const sampledBatches = 4

/**
 * Forecasts a run: loads the model's twin on `meta`, runs the step there, probes the machine for 0.1 to 0.2 s.
 * @throws `ERR_PLAN_MEMORY` when the run cannot fit, with the smallest change that would
 */
export async function makePlan(request: PlanRequest): Promise<TrainingPlan> {
  const { model, args, source, length } = request
  const twin = await model.metaTwin()
  try {
    const run: MetaRun = {
      model: twin.network,
      trainables: twin.trainables(),
      rule: { ...request.rule, state: new Map() },
    }
    const longest = longestBatch(source)
    const limitBytes = args.memoryLimit ?? availableBytes(model)
    const measured = await measure(request)
    const { probe, ops } = measured.probed
    const times = new OpTimes(ops, probe)
    const choice = await chooseRecompute(run, {
      longest,
      microBatches: length.gradientAccumulationSteps,
      recompute: args.recompute,
      limitBytes,
      fourBitSavingBytes: fourBitSaving(model),
      secondsOf: (ops) => timeOps(ops, times, longest).seconds,
    })
    const { seconds: secondsPerStep, ...workPerStep } = await meanWork(run, source, length, { longest, choice, times })
    // The ledger has sampled meanwhile.
    const power = await measured.power
    const parameters = model.network.parameters()
    const cpu = model.device.name === 'cpu' ? describeCpu() : undefined
    // Energy never stops a run: where the provider fails the plan has a yearly factor, and says so.
    const carbon = await factorOrStatic(request.carbon.provider, request.carbon.zone, new Date())
    const trained = model.trainables().map(tensorOf)
    return new TrainingPlan({
      model: model.name,
      device: model.device.name,
      instructionSet: cpu?.isa,
      threads: cpu?.threads,
      computeDtype: model.device.computeDType,
      parameters: countElements([...new Set([...parameters.map(({ value }) => value), ...trained])]),
      trainedParameters: countElements(trained),
      tuner: model.tuner.kind === 'adapter' ? model.tuner.adapter.id : model.tuner.kind,
      weightFormat: weightFormat(model),
      longestBatchTokens: longest.inputIds.length,
      tokensPerEpoch: source.tokensPerEpoch,
      sequencesPerEpoch: source.sequencesPerEpoch,
      batchesPerEpoch: source.batchesPerEpoch,
      length,
      learningRate: request.learningRate,
      lrSchedulerType: args.lrSchedulerType,
      optimizer: args.optim,
      recompute: choice.recompute,
      recomputeReason: choice.reason,
      memory: choice.step.memory,
      limitBytes,
      workPerStep,
      secondsPerStep,
      probe,
      power,
      carbonFactor: carbon.factor,
      carbonNote: carbon.note,
    })
  } finally {
    twin.dispose()
  }
}

function countElements(values: readonly { readonly elements: number }[]): number {
  return values.reduce((sum, { elements }) => sum + elements, 0)
}

function longestBatch(source: BatchSource): PackedBatch {
  let best: { readonly tokens: number; readonly position: DataPosition } | undefined
  for (let batchIndex = 0; batchIndex < source.batchesPerEpoch; batchIndex += 1) {
    const position = { epoch: 0, batchIndex }
    const { tokens } = source.describe(position)
    if (best === undefined || tokens > best.tokens) best = { tokens, position }
  }
  return source.batch(best?.position ?? { epoch: 0, batchIndex: 0 })
}

/** What this process may use: memory the system has left, and what the model holds of it already. */
function availableBytes(model: SwiftModel): number {
  return process.availableMemory() + model.device.statistics().liveBytes
}

/** Bytes that NF4 with double quantization (4.127 bits per weight) would save on frozen dense linear weights. */
function fourBitSaving(model: SwiftModel): number {
  if (model.tuner.kind !== 'adapter') return 0
  const bits: Readonly<Record<string, number>> = { float32: 32, bfloat16: 16, float16: 16 }
  return model.network.linears().reduce((sum, { weight }) => {
    const { dtype, elements } = weight.value
    return sum + (elements * Math.max(0, (bits[dtype] ?? 0) - 4.127)) / 8
  }, 0)
}

function weightFormat(model: SwiftModel): string {
  const formats = new Set(model.network.linears().map(({ weight }) => weight.value.dtype))
  return [...formats].join(' and ')
}

/** Work of a mean step: that of evenly spaced batches, scaled by tokens, and the update. */
async function meanWork(
  run: MetaRun,
  source: BatchSource,
  length: RunLength,
  { longest, choice, times }: { readonly longest: PackedBatch; readonly choice: MemoryChoice; readonly times: OpTimes },
): Promise<TimedWork> {
  const count = Math.min(sampledBatches, source.batchesPerEpoch)
  const total = { flops: 0, bytesMoved: 0, ops: 0, seconds: 0, tokens: 0 }
  let last = longest
  let work = timeOps(choice.step.batchOps, times, longest)
  for (let index = 0; index < count; index += 1) {
    const batch = source.batch({ epoch: 0, batchIndex: Math.floor((index * source.batchesPerEpoch) / count) })
    // Batches of the same form cost the same.
    if (!haveSameForm(batch, last)) work = timeOps(await opsOfBatch(run, batch, choice.recompute), times, batch)
    last = batch
    total.flops += work.flops
    total.bytesMoved += work.bytesMoved
    total.ops += work.ops
    total.seconds += work.seconds
    total.tokens += batch.inputIds.length
  }
  const tokensPerStep = source.tokensPerEpoch / length.stepsPerEpoch
  const batchesPerStep = source.batchesPerEpoch / length.stepsPerEpoch
  const byTokens = tokensPerStep / Math.max(1, total.tokens)
  const update = timeOps(choice.step.updateOps, times, worstBatch(1))
  return {
    flops: total.flops * byTokens + update.flops,
    bytesMoved: total.bytesMoved * byTokens + update.bytesMoved,
    ops: (total.ops / Math.max(1, count)) * batchesPerStep + update.ops,
    seconds: total.seconds * byTokens + update.seconds,
  }
}

function haveSameForm(left: PackedBatch, right: PackedBatch): boolean {
  return (
    left.cuSeqlens.join() === right.cuSeqlens.join() &&
    left.labels.every((label, index) => label < 0 === (right.labels[index] ?? -1) < 0)
  )
}

interface Measured {
  readonly probed: ProbedMachine
  /** Power while it was probed: known once the ledger has taken its next sample. */
  readonly power: Promise<PowerForecast | undefined>
}

async function measure({
  model,
  source,
  energy,
  probeMachine: probeWith = probeMachine,
}: PlanRequest): Promise<Measured> {
  const request: ProbeRequest = {
    network: model.network,
    trainables: model.trainables(),
    tokens: Math.ceil(source.tokensPerEpoch / source.batchesPerEpoch),
  }
  const { ledger } = energy
  if (ledger === undefined) return { probed: await probeWith(request), power: Promise.resolve(undefined) }
  const phase = ledger.phase('plan', { stream: model.device })
  let probed: ProbedMachine
  try {
    probed = await probeWith(request)
  } finally {
    phase.end()
  }
  await model.device.flush()
  const power = powerOf(ledger, phase)
  // A plan that is refused before it asks for the power must not end the process.
  power.catch(() => undefined)
  return { probed, power }
}

async function powerOf(ledger: Ledger, phase: Phase): Promise<PowerForecast> {
  const { active, idle, durationNanoseconds } = await ledger.settle(phase)
  const watts = (pick: (split: EnergySplit) => { readonly nanojoules: bigint } | undefined): number | undefined => {
    const parts = [pick(active), pick(idle)].filter((part) => part !== undefined)
    if (parts.length === 0 || durationNanoseconds === 0n) return undefined
    return Number(parts.reduce((sum, { nanojoules }) => sum + nanojoules, 0n)) / Number(durationNanoseconds)
  }
  return { measuredWatts: watts(({ measured }) => measured), modelledWatts: watts(({ modelled }) => modelled) }
}
