import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { PackedBatch } from '@swift/spec'
import { device, type Tensor } from '@swift/tensor'
import type { TrainingEvent } from '../events/training-event.ts'
import { SwiftModel } from '../model/swift-model.ts'
import type { SwiftModelOptions } from '../model/swift-model-options.ts'
import { TrainerArguments } from '../options/trainer-arguments.ts'
import type { TrainerOptions } from '../options/trainer-options.ts'
import { goldens, readGolden, rowBatches } from '../testing/golden-rows.ts'
import { fixedBatches } from './batch-source.ts'
import { PretrainTrainer, SftTrainer } from './trainer.ts'
import type { TrainerInit } from './trainer-init.ts'

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'swift-run-'))
})
afterAll(() => rm(root, { recursive: true }))

const { rows } = readGolden('lora-all-linear')
const base = join(goldens, 'models/qwen3')
const lora: SwiftModelOptions = {
  config: { type: 'lora', r: 4, loraAlpha: 8, loraDropout: 0.1 },
  computeDtype: 'float32',
}

async function withTrainer<T>(
  folder: string,
  args: TrainerOptions,
  body: (trainer: SftTrainer, model: SwiftModel) => Promise<T>,
  init: Partial<TrainerInit> = {},
  options: SwiftModelOptions = lora,
): Promise<T> {
  using model = await SwiftModel.fromPretrained(base, options)
  const trainer = new SftTrainer({
    model,
    args: new TrainerArguments({
      outputDir: join(root, folder),
      gradientAccumulationSteps: 2,
      loggingSteps: 1,
      learningRate: 1e-3,
      ...args,
    }),
    trainDataset: rowBatches(rows),
    ...init,
  })
  return await body(trainer, model)
}

async function losses(
  folder: string,
  args: TrainerOptions,
  init: Partial<TrainerInit> = {},
  options?: SwiftModelOptions,
): Promise<number[]> {
  return withTrainer(
    folder,
    args,
    async (trainer) => {
      const seen: number[] = []
      trainer.on('step', ({ loss }) => seen.push(loss))
      await trainer.train()
      return seen
    },
    init,
    options,
  )
}

describe('a run', () => {
  it('tells its events in order and writes its files', async () => {
    const events: TrainingEvent[] = []
    const result = await withTrainer(
      'events',
      { maxSteps: 4, evalSteps: 2 },
      async (trainer) => {
        const read = (async () => {
          for await (const event of trainer) events.push(event)
        })()
        const done = await trainer.train()
        await read
        return done
      },
      { evalDataset: rowBatches(rows.slice(0, 2), 'evaluation') },
    )
    const types = events.map(({ type }) => type).filter((type) => type !== 'note')
    const twoSteps = ['step', 'log', 'step', 'log', 'evaluation', 'checkpoint']
    expect(types).toEqual(['start', 'plan', ...twoSteps, ...twoSteps, 'end'])
    expect(result).toMatchObject({ reason: 'finished', step: 4, totalSteps: 4, skippedSteps: 0, epochs: 2 })
    expect(result.bestCheckpoint).toBe(join(root, 'events', 'checkpoint-4'))
    const names = await readdir(join(root, 'events'))
    expect(names).toEqual(
      expect.arrayContaining([
        'args.json',
        'checkpoint-2',
        'checkpoint-4',
        'energy',
        'logging.jsonl',
        'plan.json',
        'trainer_state.json',
      ]),
    )
    expect(await readdir(join(root, 'events', 'checkpoint-4'))).toEqual(
      expect.arrayContaining([
        'adapter_config.json',
        'adapter_model.safetensors',
        'optimizer.safetensors',
        'trainer_state.json',
      ]),
    )
    const log = (await readFile(join(root, 'events', 'logging.jsonl'), 'utf8')).trim().split('\n')
    expect(log.map((line) => (JSON.parse(line) as TrainingEvent).type)).toEqual([
      'log',
      'log',
      'evaluation',
      'log',
      'log',
      'evaluation',
    ])
  })

  it('has the same losses for the same seed and others for another', async () => {
    const first = await losses('seed-a', { maxSteps: 3 })
    expect(await losses('seed-b', { maxSteps: 3 })).toEqual(first)
    expect(await losses('seed-c', { maxSteps: 3 }, {}, { ...lora, seed: 7 })).not.toEqual(first)
  })

  it('repeats dropout masks when it recomputes', async () => {
    const none = await losses('dropout-none', { maxSteps: 3, recompute: 'none' })
    expect(await losses('dropout-full', { maxSteps: 3, recompute: 'full' })).toEqual(none)
    expect(await losses('dropout-selective', { maxSteps: 3, recompute: 'selective' })).toEqual(none)
  })

  it('gives B the learning rate of LoRA+', async () => {
    const moved = async (folder: string, loraPlusRatio: number): Promise<number[]> => {
      const config = { type: 'lora', r: 2, loraDropout: 0, loraPlusRatio }
      const args = {
        maxSteps: 1,
        optim: 'sgd',
        learningRate: 1e-2,
        lrSchedulerType: 'constant',
        weightDecay: 0,
      } as const
      return withTrainer(
        folder,
        args,
        async (trainer, model) => {
          await trainer.train()
          const first = model.adapters?.layers.values().next().value
          const b: unknown = first?.parameters.find(({ name }) => name === 'lora_B.weight')
          return (b as { readonly value: Tensor }).value.toArray()
        },
        {},
        { config, computeDtype: 'float32' },
      )
    }
    const plain = await moved('plus-1', 1)
    const faster = await moved('plus-4', 4)
    expect(Math.max(...plain.map(Math.abs))).toBeGreaterThan(0)
    // B starts at 0 and A's gradient is then 0, so one step of plain descent moves B alone, in proportion.
    expect(Math.max(...faster.map((value, index) => Math.abs(value - 4 * (plain[index] ?? Number.NaN))))).toBeLessThan(
      1e-7,
    )
  })

  it('lets timers fire while it trains', async () => {
    let ticks = 0
    const timer = setInterval(() => {
      ticks += 1
    }, 1)
    await losses('timers', { maxSteps: 10, saveSteps: 100 })
    clearInterval(timer)
    expect(ticks).toBeGreaterThan(10)
  })

  const tuners = ['lora', 'qlora', 'full'] as const
  const cases = [SftTrainer, PretrainTrainer].flatMap((TrainerClass) =>
    tuners.flatMap((type) =>
      (['adamw', 'adamw_8bit', 'sgd'] as const).map((optim) => ({
        name: TrainerClass.name,
        TrainerClass,
        type,
        optim,
      })),
    ),
  )
  it.each(cases)(
    'of $name with $type and $optim has as many live bytes after each step as after the one before, and leaves none',
    async ({ name, TrainerClass, type, optim }) => {
      using model = await SwiftModel.fromPretrained(base, { config: { type }, computeDtype: 'float32' })
      await model.device.flush()
      const before = [model.device.statistics().liveBytes, model.device.leakReport()]
      const args = new TrainerArguments({
        outputDir: join(root, `bytes-${name}-${type}-${optim}`),
        optim,
        maxSteps: 6,
        saveSteps: 6,
        gradientAccumulationSteps: 2,
        recompute: 'none',
      })
      // Rows of one length: a step that holds the next one's data holds the same bytes.
      const row = rows[0] as (typeof rows)[number]
      const trainer = new TrainerClass({ model, args, trainDataset: rowBatches([row, row, row]) })
      const live: number[] = []
      trainer.on('step', ({ liveBytes }) => live.push(liveBytes))
      await trainer.train()
      expect(live.length).toBe(6)
      expect(new Set(live.slice(1, 5)).size, `live bytes after each step: ${live.join(', ')}`).toBe(1)
      expect([model.device.statistics().liveBytes, model.device.leakReport()]).toEqual(before)
      expect(device('meta').leakReport()).toEqual([])
    },
  )

  it('overfits one batch', async () => {
    const args = {
      maxSteps: 60,
      learningRate: 1e-2,
      lrSchedulerType: 'constant',
      weightDecay: 0,
      gradientAccumulationSteps: 1,
    } as const
    const options: SwiftModelOptions = { config: { type: 'full' }, computeDtype: 'float32' }
    const seen = await losses('overfit', args, { trainDataset: rowBatches(rows.slice(0, 1)) }, options)
    expect(seen[0]).toBeGreaterThan(5)
    expect(seen.at(-1)).toBeLessThan(0.1)
  })

  it.each(['adamw_8bit', 'sgd'])('trains with %s', async (optim) => {
    const seen = await losses(optim, {
      maxSteps: 12,
      optim,
      learningRate: optim === 'sgd' ? 0.5 : 1e-2,
      lrSchedulerType: 'constant',
    })
    expect(seen.at(-1)).toBeLessThan((seen[0] ?? 0) - 0.3)
  })

  it('stops early', async () => {
    const result = await withTrainer(
      'early',
      { maxSteps: 50, evalSteps: 1, earlyStopPatience: 2, learningRate: 0 },
      (trainer) => trainer.train(),
      { evalDataset: rowBatches(rows.slice(0, 1), 'evaluation') },
    )
    expect([result.reason, result.step]).toEqual(['early-stop', 3])
    expect(result.bestCheckpoint).toContain('checkpoint-1')
  })
})

describe('resuming', () => {
  it('gives the bits of an uninterrupted run after an abort, and says how to go on', async () => {
    const args = { maxSteps: 6, saveSteps: 100 }
    await losses('whole', args)
    const controller = new AbortController()
    const aborted = await withTrainer(
      'parts',
      args,
      (trainer) => {
        trainer.on('step', ({ step }) => {
          if (step === 2) controller.abort()
        })
        return trainer.train()
      },
      { signal: controller.signal },
    )
    expect(aborted.reason).toBe('aborted')
    expect(aborted.step).toBeLessThan(6)
    expect(aborted.resumeHint).toContain('resumeFromCheckpoint: auto')
    await losses('parts', { ...args, resumeFromCheckpoint: 'auto' })
    for (const name of ['adapter_model.safetensors', 'optimizer.safetensors']) {
      const [whole, parts] = await Promise.all(
        ['whole', 'parts'].map((run) => readFile(join(root, run, 'checkpoint-6', name))),
      )
      expect(parts?.equals(whole as Buffer)).toBe(true)
    }
  })

  it('is exact for full fine-tuning and 8-bit states too', async () => {
    const args = { maxSteps: 4, saveSteps: 2, optim: 'adamw_8bit', saveTotalLimit: 5 } as const
    const options: SwiftModelOptions = { config: { type: 'full' }, computeDtype: 'float32' }
    await losses('full-whole', args, {}, options)
    await losses('full-parts', { ...args, resumeFromCheckpoint: join(root, 'full-whole', 'checkpoint-2') }, {}, options)
    for (const name of ['model.safetensors', 'optimizer.safetensors']) {
      const [whole, parts] = await Promise.all(
        ['full-whole', 'full-parts'].map((run) => readFile(join(root, run, 'checkpoint-4', name))),
      )
      expect(parts?.equals(whole as Buffer)).toBe(true)
    }
  })

  it('sets later checkpoints aside when it goes back', async () => {
    const args = { maxSteps: 4, saveSteps: 1, saveTotalLimit: 9 }
    await losses('back', args)
    const folder = join(root, 'back')
    await losses('back', { ...args, maxSteps: 3, resumeFromCheckpoint: join(folder, 'checkpoint-2') })
    const names = (await readdir(folder)).filter((name) => name.startsWith('checkpoint')).toSorted()
    expect(names).toEqual([
      'checkpoint-1',
      'checkpoint-2',
      'checkpoint-3',
      'checkpoint-3.superseded',
      'checkpoint-4.superseded',
    ])
  })

  it('refuses a folder with another run, other data, and a folder that is no checkpoint', async () => {
    await losses('taken', { maxSteps: 2 })
    await expect(losses('taken', { maxSteps: 2 })).rejects.toMatchObject({ code: 'ERR_RUN_EXISTS' })
    const resume = { maxSteps: 4, resumeFromCheckpoint: 'auto' }
    await expect(losses('taken', resume, { trainDataset: rowBatches(rows, 'other') })).rejects.toMatchObject({
      code: 'ERR_RESUME_MISMATCH',
    })
    const wider: SwiftModelOptions = { ...lora, config: { type: 'lora', r: 4, loraAlpha: 16 } }
    await expect(losses('taken', resume, {}, wider)).rejects.toMatchObject({
      code: 'ERR_RESUME_MISMATCH',
      found: 'loraAlpha was 8 and is 16',
    })
    await expect(losses('new', { ...resume, resumeFromCheckpoint: root })).rejects.toMatchObject({
      code: 'ERR_CHECKPOINT_MISSING',
    })
  })
})

describe('the watchdog', () => {
  const broken: PackedBatch = {
    ...rowBatches(rows).batch({ epoch: 0, batchIndex: 0 }),
    lossWeights: new Float32Array(17).fill(Number.NaN),
  }
  const batches = [0, 1, 2].map((batchIndex) => rowBatches(rows).batch({ epoch: 0, batchIndex }))
  const source = fixedBatches([...batches, broken], 'broken')

  it('stops a run whose loss is NaN and keeps the last good checkpoint', async () => {
    const args = { maxSteps: 8, gradientAccumulationSteps: 1, saveSteps: 1 }
    await expect(losses('nan', args, { trainDataset: source })).rejects.toMatchObject({
      code: 'ERR_LOSS_NOT_FINITE',
      message: expect.stringMatching(/Step 4.*checkpoint-3/s),
    })
    expect((await readdir(join(root, 'nan'))).filter((name) => name.startsWith('checkpoint'))).toEqual([
      'checkpoint-2',
      'checkpoint-3',
    ])
  })

  it('skips as many updates as it may', async () => {
    const args = { maxSteps: 6, gradientAccumulationSteps: 1, saveSteps: 100, skipNonFiniteSteps: 1 }
    const result = await withTrainer('skip', args, (trainer) => trainer.train(), { trainDataset: source })
    expect([result.reason, result.skippedSteps]).toEqual(['finished', 1])
    expect(Number.isFinite(result.loss)).toBe(true)
  })
})

function planWith(args: TrainerOptions): ReturnType<SftTrainer['plan']> {
  return withTrainer('limits', args, (trainer) => trainer.plan())
}

describe('the plan', () => {
  it('forecasts the peak of the run, and says what it rests on', async () => {
    await withTrainer('plan', { maxSteps: 6, gradientAccumulationSteps: 1 }, async (trainer) => {
      const plan = await trainer.plan()
      expect(plan.print()).toMatch(/recompute +none/)
      expect(plan.fields.workPerStep.flops).toBeGreaterThan(1e6)
      const { planComparison } = await trainer.train()
      expect(Math.abs(planComparison?.bytesError ?? 1)).toBeLessThan(0.02)
    })
  })

  it('recomputes as little as fits, and refuses with the change that would fit', async () => {
    const peakOf = async (recompute: 'none' | 'selective' | 'full'): Promise<number> =>
      (await planWith({ recompute })).memory.peakBytes
    const [none, selective, full] = [await peakOf('none'), await peakOf('selective'), await peakOf('full')]
    expect(none).toBeGreaterThan(selective)
    expect(selective).toBeGreaterThan(full)
    expect((await planWith({})).fields).toMatchObject({
      recompute: 'none',
      recomputeReason: expect.stringContaining('fits'),
    })
    expect((await planWith({ memoryLimit: none - 1 })).fields.recompute).toBe('selective')
    expect((await planWith({ memoryLimit: selective - 1 })).fields.recompute).toBe('full')
    const asked = planWith({ memoryLimit: selective, recompute: 'none' })
    await expect(asked).rejects.toMatchObject({
      code: 'ERR_PLAN_MEMORY',
      remedy: expect.stringContaining('recompute: full'),
    })
    const refused = planWith({ memoryLimit: full - 1 })
    await expect(refused).rejects.toMatchObject({
      code: 'ERR_PLAN_MEMORY',
      remedy: expect.stringMatching(/maxLength ≤ \d+/),
    })
    await expect(planWith({ memoryLimit: 1000 })).rejects.toMatchObject({
      code: 'ERR_PLAN_MEMORY',
      remedy: expect.stringContaining('smaller model'),
    })
  })
})
