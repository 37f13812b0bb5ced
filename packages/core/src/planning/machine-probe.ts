import type { CausalLM } from '@swift/models'
import type { PackedBatch } from '@swift/spec'
import { add, full, linear, RandomStream, scope, type Device, type OpTime } from '@swift/tensor'
import { RunEnergy } from '../energy/run-energy.ts'
import { runMicroBatch, type LossModel } from '../training/micro-batch.ts'
import { clearGradients, type Trainable } from '../training/trainable.ts'
import type { GeneralRates, ProbedOps } from './op-times.ts'
import { worstBatch } from './step-forecast.ts'

/** What this machine does in a few short trials, as the plan's clock. */
export interface MachineProbe extends GeneralRates {
  /** Tokens of the batches that one layer of the model was run with, ascending. */
  readonly layerTokens: readonly number[]
  /** Time the trials took. */
  readonly durationSeconds: number
}

/** A probe with the times of the ops it ran. */
export interface ProbedMachine {
  /** Summary. */
  readonly probe: MachineProbe
  /** Times of the ops of one layer, embedding and head. */
  readonly ops: readonly ProbedOps[]
}

/** What is probed. */
export interface ProbeRequest {
  /** The model on the device that will run it. */
  readonly network: CausalLM
  /** What is trained. */
  readonly trainables: readonly Trainable[]
  /** Tokens of a mean batch. */
  readonly tokens: number
}

/** Rows of the probed product: enough to be limited by arithmetic. */
const productRows = 256
const productSeconds = 0.02
const streamElements = 4 * 2 ** 20
/** Time that a run of the layer may take, as far as it can be foreseen. */
const layerSeconds = 0.06
/** What small products reach of the probed one, guessed for choosing the batch. */
const layerEfficiency = 0.6
/** The longer of two probed batches is never shorter, and the other half of it: fewer rows take other kernels. */
const leastTokens = 64
const excerptVocabulary = 1024
const leastRepeats = 2
const mostRepeats = 8

const unmetered = RunEnergy.none('the plan has a phase of its own')

async function secondsOf(device: Device, body: () => void): Promise<number> {
  await device.flush()
  const start = performance.now()
  body()
  await device.flush()
  return (performance.now() - start) / 1000
}

/**
 * Measures the machine in 0.1 to 0.4 s: a matrix product, an addition of 16 MiB tensors, and one layer of the model
 * between embedding and head, forward and backward, with the time of every op. Where a whole batch takes too long, two
 * shorter ones are run, whose difference tells what a token costs and what an op costs by itself.
 */
export async function probeMachine({ network, trainables, tokens }: ProbeRequest): Promise<ProbedMachine> {
  const start = performance.now()
  const { device } = network
  const { hiddenSize } = network.config
  const flopsPerSecond = await probeProduct(device, Math.min(2048, Math.max(256, hiddenSize)))
  const bytesPerSecond = await probeStream(device)
  const { ops, secondsPerOp } = await probeLayer(network, trainables, tokens, flopsPerSecond)
  const probe = {
    flopsPerSecond,
    bytesPerSecond,
    secondsPerOp,
    layerTokens: ops.map((entry) => entry.tokens),
    durationSeconds: (performance.now() - start) / 1000,
  }
  return { probe, ops }
}

async function probeProduct(device: Device, extent: number): Promise<number> {
  const x = full(device, [productRows, extent], 0.5)
  const weight = full(device, [extent, extent], 0.01)
  const flops = 2 * productRows * extent * extent
  const once = (): void => scope(() => void linear(x, weight))
  try {
    await secondsOf(device, once)
    const single = await secondsOf(device, once)
    const repeats = Math.min(200, Math.max(1, Math.floor(productSeconds / Math.max(single, 1e-6))))
    const seconds = await secondsOf(device, () => {
      for (let repeat = 0; repeat < repeats; repeat += 1) once()
    })
    return (flops * repeats) / Math.max(seconds, 1e-9)
  } finally {
    x.release()
    weight.release()
  }
}

async function probeStream(device: Device): Promise<number> {
  const x = full(device, [streamElements], 1)
  const once = (): void => scope(() => void add(x, x))
  try {
    await secondsOf(device, once)
    const seconds = await secondsOf(device, once)
    return (streamElements * 4 * 3) / Math.max(seconds, 1e-9)
  } finally {
    x.release()
  }
}

/** FLOPs of one token of an excerpt, forward and backward, about: its products alone. */
function flopsPerToken({ layers: [layer], config }: LossModel & CausalLM, vocabulary: number): number {
  if (layer === undefined) return 1
  const { attention, mlp } = layer
  const linears = [...Object.values(attention.weights), ...Object.values(mlp)]
  const weights = linears.reduce(
    (sum, part) => sum + (part !== undefined && 'inFeatures' in part ? part.inFeatures * part.outFeatures : 0),
    vocabulary * config.hiddenSize,
  )
  return 4 * weights
}

/** Lengths of the batches to run: the whole one where it is short, else two that fit the time. */
export function layerBatches(tokens: number, secondsPerToken: number): readonly number[] {
  const affordable = Math.floor(layerSeconds / Math.max(secondsPerToken, 1e-9))
  if (tokens <= Math.max(leastTokens, affordable)) return [tokens]
  const long = Math.min(tokens, Math.max(leastTokens, affordable))
  return [Math.ceil(long / 2), long]
}

async function probeLayer(
  network: CausalLM,
  trainables: readonly Trainable[],
  tokens: number,
  flopsPerSecond: number,
): Promise<{ readonly ops: readonly ProbedOps[]; readonly secondsPerOp: number }> {
  const { device } = network
  using excerpt = network.excerpt({
    layer: network.layers.length >> 1,
    vocabulary: excerptVocabulary,
    embeddings: 1,
  })
  const { model } = excerpt
  const secondsPerToken = flopsPerToken(model, excerpt.vocabulary) / Math.max(1, layerEfficiency * flopsPerSecond)
  const lengths = layerBatches(tokens, secondsPerToken)
  const run = (batch: PackedBatch): void => {
    using phase = unmetered.phase('plan')
    const options = { recompute: 'none' as const, random: new RandomStream(0), stepWeight: 1, phase }
    const { lossSum, correct } = runMicroBatch(model, batch, options)
    lossSum.release()
    correct.release()
    clearGradients(trainables)
    excerpt.clearGradients()
  }
  const found: ProbedOps[] = []
  let secondsPerOp = Number.POSITIVE_INFINITY
  // The first run compiles this code, faults weights and buffers in and starts threads: steps do that once.
  const longestFirst = lengths.toReversed()
  await secondsOf(device, () => run(worstBatch(longestFirst[0] ?? 1)))
  for (const length of longestFirst) {
    const batch = worstBatch(length)
    const affordable = layerSeconds / Math.max(1e-9, length * secondsPerToken)
    const repeats = Math.min(mostRepeats, Math.max(leastRepeats, Math.floor(affordable)))
    await device.recordOps(true)
    const wall = await secondsOf(device, () => {
      for (let repeat = 0; repeat < repeats; repeat += 1) run(batch)
    })
    const ops = await device.recordOps(false)
    found.unshift({ tokens: length, ops })
    secondsPerOp = Math.min(secondsPerOp, overheadOf(wall, ops))
  }
  return { ops: found, secondsPerOp }
}

/** Time of a run in which no op ran, per op. */
function overheadOf(wallSeconds: number, ops: readonly OpTime[]): number {
  const inOps = ops.reduce((sum, { durationMs }) => sum + durationMs / 1000, 0)
  return Math.max(0, wallSeconds - inOps) / Math.max(1, ops.length)
}
