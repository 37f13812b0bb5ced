import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { CarbonGate, Ledger } from '@swift/energy'
import { SwiftError, type CarbonProvider } from '@swift/spec'
import { FakePowercapTree } from '@swift/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readTrainerState } from '../checkpoints/trainer-state.ts'
import { SwiftModel } from '../model/swift-model.ts'
import { TrainerArguments } from '../options/trainer-arguments.ts'
import type { TrainerOptions } from '../options/trainer-options.ts'
import { goldens, readGolden, rowBatches } from '../testing/golden-rows.ts'
import { SftTrainer } from './trainer.ts'
import type { TrainerInit } from './trainer-init.ts'
import type { TrainResult } from './train-result.ts'

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'swift-budget-'))
})
afterAll(() => rm(root, { recursive: true }))

const { rows } = readGolden('lora-all-linear')
const base = join(goldens, 'models/qwen3')
const zone = 'intel-rapl:0'

interface Told {
  readonly result: TrainResult
  readonly codes: readonly string[]
  readonly losses: readonly number[]
}

/** Trains with a processor that spends `joulesPerStep` in each step. */
async function train(
  folder: string,
  args: TrainerOptions,
  joulesPerStep: number,
  init: Partial<TrainerInit> = {},
): Promise<Told> {
  using tree = new FakePowercapTree([{ entry: zone, name: 'package-0' }])
  const before = process.env['SWIFT_POWERCAP_ROOT']
  process.env['SWIFT_POWERCAP_ROOT'] = tree.root
  try {
    using model = await SwiftModel.fromPretrained(base, {
      config: { type: 'lora', r: 4, loraAlpha: 8, loraDropout: 0.1 },
      computeDtype: 'float32',
    })
    const trainer = new SftTrainer({
      model,
      args: new TrainerArguments({
        outputDir: join(root, folder),
        gradientAccumulationSteps: 2,
        learningRate: 1e-3,
        maxSteps: 12,
        ...args,
      }),
      trainDataset: rowBatches(rows),
      beforeStep: async ({ step }) => {
        // The energy of a step is known once the sampler has seen it.
        if (step === 1) return
        tree.add(zone, BigInt(Math.round(joulesPerStep * 1e9)))
        await new Promise((resolve) => setTimeout(resolve, 250))
      },
      ...init,
    })
    const codes: string[] = []
    const losses: number[] = []
    trainer.on('note', ({ code }) => codes.push(code))
    trainer.on('step', ({ loss }) => losses.push(loss))
    return { result: await trainer.train(), codes, losses }
  } finally {
    if (before === undefined) delete process.env['SWIFT_POWERCAP_ROOT']
    else process.env['SWIFT_POWERCAP_ROOT'] = before
  }
}

describe('energyBudget', () => {
  it('ends the run after its step with a checkpoint, a reason in the ledger and how to go on; then goes on', async () => {
    const free = await train('free', { saveSteps: 100 }, 0, { beforeStep: () => Promise.resolve() })
    const spent = await train('spent', { energyBudget: 'soft 100J, 200J', saveSteps: 100 }, 60)
    expect(spent.result.reason).toBe('energy-budget')
    expect(spent.codes).toEqual(expect.arrayContaining(['WARN_ENERGY_BUDGET_SOFT', 'ERR_ENERGY_BUDGET_SPENT']))
    // 60 J in each step from the second on, and a few modelled ones for memory: the fifth step, give or take the sampler's moment.
    expect(spent.result.step).toBeGreaterThanOrEqual(3)
    expect(spent.result.step).toBeLessThan(8)
    expect(spent.result.resumeHint).toContain('energyBudget')
    const { lastCheckpoint = '', step } = spent.result
    expect((await readTrainerState(lastCheckpoint)).step).toBe(step)
    const notes = await Ledger.notes(join(root, 'spent', 'energy'))
    expect(notes.map(({ code }) => code)).toContain('ERR_ENERGY_BUDGET_SPENT')

    // The budget counts the whole run: with the same one it does not take a step, with a larger one it ends bit-equal.
    const again = await train('spent', { energyBudget: '200J', saveSteps: 100, resumeFromCheckpoint: 'auto' }, 0)
    expect([again.result.reason, again.result.step]).toEqual(['energy-budget', step])
    const rest = await train('spent', { energyBudget: '1GJ', saveSteps: 100, resumeFromCheckpoint: 'auto' }, 0)
    expect(rest.result.reason).toBe('finished')
    expect([...spent.losses, ...rest.losses]).toEqual(free.losses)
  })

  it('is refused before anything is done when it cannot be read', () => {
    const make = (energyBudget: string) => () => new TrainerArguments({ energyBudget })
    expect(make('a lot')).toThrow(SwiftError)
    expect(make('0.5kWh, soft 0.4kWh')).not.toThrow()
  })
})

describe('beforeStep', () => {
  it('is waited for before each step, and can save first', async () => {
    const steps: number[] = []
    const saved: string[] = []
    const { result } = await train('gated', { maxSteps: 4, saveSteps: 100 }, 0, {
      beforeStep: async ({ step, save }) => {
        steps.push(step)
        if (step === 3) saved.push(await save())
      },
    })
    expect(steps).toEqual([1, 2, 3, 4])
    expect((await readTrainerState(saved[0] ?? '')).step).toBe(2)
    expect(result.step).toBe(4)
  })

  it('holds a run at a checkpoint while the grid is dirty, and the run ends as if nothing had been', async () => {
    const free = await train('clean', { maxSteps: 5, saveSteps: 100 }, 0, { beforeStep: () => Promise.resolve() })
    const grams = [500, 200, 800, 700, 250]
    const provider: CarbonProvider = {
      id: 'scripted',
      doFactor: async (zoneAsked) => ({
        zone: zoneAsked,
        gramsPerKilowattHour: grams.shift() ?? 100,
        kind: 'location-average',
        source: 'a script',
        validFor: 'now',
        licence: 'none',
      }),
    }
    const codes: string[] = []
    const gate = new CarbonGate({
      provider,
      zone: 'DE',
      pauseAbove: 400,
      checkMs: 30,
      onEvent: ({ code }) => codes.push(code),
    })
    const saved: number[] = []
    const held = await train('held', { maxSteps: 5, saveSteps: 100 }, 0, {
      beforeStep: async ({ save }) => {
        // Longer than the gate's time between two looks: it looks before every step.
        await new Promise((resolve) => setTimeout(resolve, 40))
        await gate.pass(undefined, async () => saved.push((await readTrainerState(await save())).step))
      },
    })
    expect(codes).toEqual(['NOTE_CARBON_PAUSE', 'NOTE_CARBON_RESUME', 'NOTE_CARBON_PAUSE', 'NOTE_CARBON_RESUME'])
    expect(saved).toEqual([0, 1])
    expect(gate.pausedMs).toBeGreaterThan(80)
    expect(held.losses).toEqual(free.losses)
  })
})
