// Some training steps with the time of every op recorded: `node profile.ts '<json>'` prints one JSON line.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fixedBatches, SftTrainer, SwiftModel, TrainerArguments, type PackedBatch } from '@swift/core'
import bnbPlugin from '@swift/plugin-bnb'
import loraPlugin from '@swift/plugin-lora'
import type { OpTime } from '@swift/tensor'
import type { TrainRequest } from '../harness/train-request.ts'

const request = JSON.parse(process.argv[2] ?? '{}') as TrainRequest
const { folder, tokens, sequenceLength, warmup, steps, quantize, rank } = request
const all = JSON.parse(readFileSync(tokens, 'utf8')) as number[]

function batchOf(ids: readonly number[]): PackedBatch {
  return {
    inputIds: Int32Array.from(ids),
    positions: Int32Array.from(ids, (_, index) => index),
    cuSeqlens: Int32Array.of(0, ids.length),
    labels: Int32Array.from(ids, (_, index) => ids[index + 1] ?? -100),
  }
}

using model = await SwiftModel.fromPretrained(folder, {
  plugins: [loraPlugin, bnbPlugin],
  config: { type: 'lora', r: rank, loraAlpha: 2 * rank, loraDropout: 0, targetModules: 'all-linear' },
  loadIn4bit: quantize,
})
const outputDir = mkdtempSync(join(tmpdir(), 'swift-bench-'))
const trainer = new SftTrainer({
  model,
  args: new TrainerArguments({
    outputDir,
    maxSteps: warmup + 1 + steps,
    gradientAccumulationSteps: 1,
    lrSchedulerType: 'constant',
    evalSteps: 1_000_000,
    loggingSteps: 1_000_000,
  }),
  trainDataset: fixedBatches(
    Array.from({ length: warmup + 1 + steps }, (_, index) =>
      batchOf(all.slice(index * sequenceLength, (index + 1) * sequenceLength)),
    ),
    'benchmark',
  ),
})

const stepMs: number[] = []
let ops: Promise<readonly OpTime[]> | undefined
let cpuStart = process.threadCpuUsage()
let javaScriptMs = 0
let recompute = ''
trainer.on('plan', ({ plan }) => {
  recompute = plan.fields.recompute
})
trainer.on('step', ({ step, durationMs }) => {
  // The step after this one is queued already: recorded are those that follow it.
  if (step === warmup) {
    void model.device.recordOps(true)
    cpuStart = process.threadCpuUsage()
  }
  if (step > warmup + 1) stepMs.push(durationMs)
  if (step === warmup + 1 + steps) {
    ops = model.device.recordOps(false)
    const { user, system } = process.threadCpuUsage(cpuStart)
    javaScriptMs = (user + system) / 1000
  }
})
await trainer.train()
rmSync(outputDir, { recursive: true })
console.log(
  JSON.stringify({ stepMs, javaScriptMs, recompute, computeDtype: model.device.computeDType, ops: await ops }),
)
