import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readSafetensors } from '@swift/models'
import { device } from '@swift/tensor'
import { SwiftModel } from '../model/swift-model.ts'
import type { SwiftModelOptions } from '../model/swift-model-options.ts'
import { TrainerArguments } from '../options/trainer-arguments.ts'
import type { TrainerOptions } from '../options/trainer-options.ts'
import { goldens, packRows, readGolden, rowBatches, type GoldenRun } from '../testing/golden-rows.ts'
import type { BatchSource } from './batch-source.ts'
import { fixedBatches } from './batch-source.ts'
import { SftTrainer } from './trainer.ts'

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'swift-golden-'))
})
afterAll(() => rm(root, { recursive: true }))

/** The arguments of the goldens' loop. */
const golden: TrainerOptions = {
  learningRate: 1e-3,
  lrSchedulerType: 'constant',
  adamBeta1: 0.9,
  adamBeta2: 0.999,
  weightDecay: 0.01,
  maxGradNorm: 1,
  maxSteps: 10,
  loggingSteps: 1,
  saveSteps: 100,
}

interface Trained {
  readonly losses: number[]
  readonly norms: number[]
  readonly checkpoint: string
}

async function train(
  name: string,
  options: SwiftModelOptions,
  source: BatchSource,
  args: TrainerOptions,
  base = 'models/qwen3',
): Promise<Trained> {
  using model = await SwiftModel.fromPretrained(join(goldens, base), { computeDtype: 'float32', ...options })
  const trainer = new SftTrainer({
    model,
    args: new TrainerArguments({ ...golden, ...args, outputDir: join(root, name) }),
    trainDataset: source,
    decays: () => true,
  })
  const losses: number[] = []
  const norms: number[] = []
  trainer.on('step', ({ loss, gradientNorm }) => {
    losses.push(loss)
    norms.push(gradientNorm)
  })
  const { lastCheckpoint } = await trainer.train()
  return { losses, norms, checkpoint: lastCheckpoint as string }
}

/** Losses are of size 1 to 10 and agree to 1e-4; norms are relative, as they are of any size. */
function expectRun({ losses, norms }: Trained, run: GoldenRun): void {
  expect(losses).toHaveLength(run.losses.length)
  const lossErrors = run.losses.map((loss, step) => Math.abs((losses[step] ?? Number.NaN) - loss))
  expect(Math.max(...lossErrors)).toBeLessThan(1e-4)
  const normErrors = run.gradientNorms.map((norm, step) => Math.abs((norms[step] ?? Number.NaN) - norm) / norm)
  expect(Math.max(...normErrors)).toBeLessThan(1e-3)
}

/** ‖ours − theirs‖ / ‖theirs − before‖: elementwise comparison would trip over Adam's sign of rounding errors. */
async function relativeDifference(ours: string, theirs: string, before: string): Promise<number> {
  const [a, b, c] = [ours, theirs, before].map((path) => readSafetensors(path, device('cpu')))
  let difference = 0
  let moved = 0
  try {
    for (const [name, tensor] of b?.tensors ?? []) {
      const values = await Promise.all([a, b, c].map((file) => file?.tensors.get(name)?.toArray()))
      const [mine, other, start] = values
      expect(mine).toHaveLength(tensor.elements)
      other?.forEach((value, index) => {
        difference += ((mine?.[index] ?? Number.NaN) - value) ** 2
        moved += (value - (start?.[index] ?? Number.NaN)) ** 2
      })
    }
  } finally {
    for (const file of [a, b, c]) file?.[Symbol.dispose]()
  }
  return Math.sqrt(difference / moved)
}

function adapterOf(name: string, state: string): string {
  return join(goldens, 'peft', name, state)
}

describe('training equals PEFT', () => {
  const tensors = 'adapter_model.safetensors'

  it.each(['lora-all-linear', 'rslora', 'lora-q-v'])('%s: ten losses, norms and the final adapter', async (name) => {
    const expected = readGolden(name)
    const base = name === 'lora-q-v' ? 'models/qwen2' : 'models/qwen3'
    const run = await train(
      name,
      { adapter: adapterOf(name, 'initial') },
      rowBatches(expected.rows),
      { gradientAccumulationSteps: 1 },
      base,
    )
    expectRun(run, expected.single)
    const distance = await relativeDifference(
      join(run.checkpoint, tensors),
      join(adapterOf(name, 'final'), tensors),
      join(adapterOf(name, 'initial'), tensors),
    )
    expect(distance).toBeLessThan(1e-3)
  })

  it('accumulates two micro-batches into the loss of both', async () => {
    const expected = readGolden('lora-all-linear')
    const options = { adapter: adapterOf('lora-all-linear', 'initial') }
    const run = await train('accumulated', options, rowBatches(expected.rows), { gradientAccumulationSteps: 2 })
    expectRun(run, expected.accumulated as GoldenRun)
  })

  it('gives the accumulated losses from packed rows too', async () => {
    const { rows, accumulated } = readGolden('lora-all-linear')
    const pairs = [rows.slice(0, 2), rows.slice(2)].map(packRows)
    const options = { adapter: adapterOf('lora-all-linear', 'initial') }
    const run = await train('packed', options, fixedBatches(pairs, 'pairs'), { gradientAccumulationSteps: 1 })
    expectRun(run, accumulated as GoldenRun)
  })

  it.each(['selective', 'full'] as const)('is the same under %s recompute', async (recompute) => {
    const expected = readGolden('lora-all-linear')
    const options = { adapter: adapterOf('lora-all-linear', 'initial') }
    const run = await train(`recompute-${recompute}`, options, rowBatches(expected.rows), {
      gradientAccumulationSteps: 1,
      recompute,
    })
    expectRun(run, expected.single)
  })

  it('equals float64 on the oracle', async () => {
    const expected = readGolden('lora-all-linear')
    const options = { adapter: adapterOf('lora-all-linear', 'initial'), device: 'oracle' } as const
    const run = await train('oracle', options, rowBatches(expected.rows), { gradientAccumulationSteps: 1 })
    const errors = expected.single.lossesFloat64.map((loss, step) => Math.abs((run.losses[step] ?? Number.NaN) - loss))
    // Norms and rotary tables inside transformers stay float32 in its float64 run.
    expect(Math.max(...errors)).toBeLessThan(2e-6)
  })

  it('qlora: ten losses over a bitsandbytes checkpoint', async () => {
    const expected = readGolden('qlora')
    const options = { adapter: adapterOf('lora-all-linear', 'initial') }
    const run = await train(
      'qlora',
      options,
      rowBatches(expected.rows),
      { gradientAccumulationSteps: 1 },
      'bnb/qwen3-nf4-double',
    )
    expectRun(run, expected.single)
  })

  it('qlora: the same losses when the base is quantized while loading', async () => {
    const expected = readGolden('qlora')
    const options = { adapter: adapterOf('lora-all-linear', 'initial'), loadIn4bit: true }
    const run = await train('qlora-load', options, rowBatches(expected.rows), { gradientAccumulationSteps: 1 })
    expectRun(run, expected.single)
  })

  it('full fine-tuning: ten losses, norms and final weights', async () => {
    const expected = readGolden('full')
    const run = await train('full', { config: { type: 'full' } }, rowBatches(expected.rows), {
      gradientAccumulationSteps: 1,
    })
    expectRun(run, expected.single)
    const base = join(goldens, 'models/qwen3/model.safetensors')
    const distance = await relativeDifference(
      join(run.checkpoint, 'model.safetensors'),
      join(goldens, 'peft/full/final.safetensors'),
      base,
    )
    expect(distance).toBeLessThan(1e-3)
  })
})
