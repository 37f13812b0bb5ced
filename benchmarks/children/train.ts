// One training run in a process of its own: `node train.ts '<json>'`. Prints one JSON line after its last step.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fixedBatches, SftTrainer, SwiftModel, TrainerArguments, type PackedBatch } from '@swift/core'
import bnbPlugin from '@swift/plugin-bnb'
import loraPlugin from '@swift/plugin-lora'
import { peakResidentBytes } from '../harness/resident-bytes.ts'
import type { TrainRequest } from '../harness/train-request.ts'

const request = JSON.parse(process.argv[2] ?? '{}') as TrainRequest
const { folder, tokens, sequenceLength, warmup, steps, quantize, computeDtype, rank, sequences = 1 } = request

/** `sequences` sequences laid one after the other. */
function batchOf(ids: readonly number[]): PackedBatch {
  const position = (index: number): number => index % sequenceLength
  return {
    inputIds: Int32Array.from(ids),
    positions: Int32Array.from(ids, (_, index) => position(index)),
    cuSeqlens: Int32Array.from({ length: sequences + 1 }, (_, index) => index * sequenceLength),
    labels: Int32Array.from(ids, (_, index) =>
      position(index) === sequenceLength - 1 ? -100 : (ids[index + 1] ?? -100),
    ),
  }
}

const all = JSON.parse(readFileSync(tokens, 'utf8')) as number[]
const width = sequences * sequenceLength
const batches = Array.from({ length: warmup + steps }, (_, index) =>
  batchOf(all.slice(index * width, (index + 1) * width)),
)

const loadStart = performance.now()
using model = await SwiftModel.fromPretrained(folder, {
  plugins: [loraPlugin, bnbPlugin],
  config: { type: 'lora', r: rank, loraAlpha: 2 * rank, loraDropout: 0, targetModules: 'all-linear' },
  loadIn4bit: quantize,
  ...(computeDtype === undefined ? {} : { computeDtype }),
})
const loadSeconds = (performance.now() - loadStart) / 1000

const outputDir = mkdtempSync(join(tmpdir(), 'swift-bench-'))
const trainer = new SftTrainer({
  model,
  args: new TrainerArguments({
    outputDir,
    maxSteps: warmup + steps,
    gradientAccumulationSteps: 1,
    learningRate: 1e-4,
    lrSchedulerType: 'constant',
    evalSteps: 1_000_000,
    loggingSteps: 1_000_000,
    ...(request.recompute === undefined ? {} : { recompute: request.recompute }),
  }),
  trainDataset: fixedBatches(batches, 'benchmark'),
})

const losses: number[] = []
const stepSeconds: number[] = []
let firstStepAt = 0
let cpuAtStart = process.cpuUsage()
let cpuSeconds = 0
let residentBytes: number | null = null
trainer.on('step', ({ step, loss, durationMs }) => {
  losses.push(loss)
  if (step === 1) firstStepAt = Date.now()
  if (step === warmup) cpuAtStart = process.cpuUsage()
  if (step > warmup) stepSeconds.push(durationMs / 1000)
  if (step < warmup + steps) return
  const { user, system } = process.cpuUsage(cpuAtStart)
  cpuSeconds = (user + system) / 1e6
  residentBytes = peakResidentBytes()
})
const result = await trainer.train()
rmSync(outputDir, { recursive: true })

console.log(
  JSON.stringify({
    loadSeconds,
    firstStepAt,
    stepSeconds,
    cpuSeconds,
    residentBytes,
    losses,
    versions: {},
    plan: result.planComparison,
  }),
)
