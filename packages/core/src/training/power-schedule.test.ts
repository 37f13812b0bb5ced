import { readFileSync, writeFileSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ledger } from '@swift/energy'
import { SwiftError } from '@swift/spec'
import { FakeClock, FakePowercapTree, ScriptedCarbon } from '@swift/testing'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readTrainerState } from '../checkpoints/trainer-state.ts'
import type { TrainingEvent } from '../events/training-event.ts'
import { SwiftModel } from '../model/swift-model.ts'
import { TrainerArguments } from '../options/trainer-arguments.ts'
import type { TrainerOptions } from '../options/trainer-options.ts'
import { goldens, readGolden, rowBatches } from '../testing/golden-rows.ts'
import type { TrainerInit } from './trainer-init.ts'
import type { TrainResult } from './train-result.ts'
import { SftTrainer } from './trainer.ts'

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'swift-schedule-'))
})
afterAll(() => rm(root, { recursive: true }))

const { rows } = readGolden('lora-all-linear')
const zone = 'intel-rapl:0'
const minute = 60_000
const hour = 60 * minute

interface Told {
  readonly result: TrainResult
  readonly events: readonly TrainingEvent[]
  readonly codes: readonly string[]
}

/** What a run meets. */
interface World {
  readonly tree: FakePowercapTree
  readonly limit: () => string
  readonly state: string
}

/** Makes a fake processor with a power limit, and a folder for what is to be put back. */
async function inWorld<T>(body: (world: World) => Promise<T>): Promise<T> {
  using tree = new FakePowercapTree([{ entry: zone, name: 'package-0' }])
  const path = join(tree.root, zone, 'constraint_0_power_limit_uw')
  writeFileSync(path, '200000000\n')
  const state = await mkdtemp(join(root, 'state-'))
  const set = { SWIFT_POWERCAP_ROOT: tree.root, SWIFT_POWER_STATE: state, SWIFT_CPUFREQ_ROOT: state }
  const before = Object.keys(set).map((name) => [name, process.env[name]] as const)
  Object.assign(process.env, set)
  try {
    return await body({ tree, state, limit: () => readFileSync(path, 'utf8').trim() })
  } finally {
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name]
      else process.env[name] = value
    }
  }
}

async function train(
  folder: string,
  args: TrainerOptions,
  init: Partial<TrainerInit> = {},
  onEvent: (event: TrainingEvent) => void = () => undefined,
): Promise<Told> {
  using model = await SwiftModel.fromPretrained(join(goldens, 'models/qwen3'), {
    config: { type: 'lora', r: 4, loraAlpha: 8, loraDropout: 0.1 },
    computeDtype: 'float32',
  })
  const outputDir = join(root, folder)
  // Undisturbed by what else runs here, and quick.
  await using ledger = await Ledger.open(join(outputDir, 'energy'), {
    exclusive: true,
    samplePeriodMs: 20,
    commitMs: 50,
    idle: { seconds: 0 },
  })
  const trainer = new SftTrainer({
    model,
    ledger,
    args: new TrainerArguments({
      outputDir,
      gradientAccumulationSteps: 2,
      learningRate: 1e-3,
      maxSteps: 6,
      saveSteps: 100,
      ...args,
    }),
    trainDataset: rowBatches(rows),
    ...init,
  })
  const events: TrainingEvent[] = []
  trainer.on('*', (event) => {
    events.push(event)
    onEvent(event)
  })
  const result = await trainer.train()
  return { result, events, codes: events.flatMap((event) => (event.type === 'note' ? [event.code] : [])) }
}

/** Everything of a checkpoint but its energy. */
async function contentsOf(folder: string, step: number): Promise<unknown> {
  const path = join(root, folder, `checkpoint-${step}`)
  const bytes = async (name: string): Promise<string> => (await readFile(join(path, name))).toString('base64')
  const { ledger: _ledger, ...state } = await readTrainerState(path)
  return [await bytes('adapter_model.safetensors'), await bytes('optimizer.safetensors'), state]
}

const codeOf = async (call: Promise<unknown>): Promise<string> =>
  call.then(
    () => 'no error',
    (error: unknown) => (SwiftError.isInstance(error) ? error.code : String(error)),
  )

/** A grid that is dirty for the first hour of every two. */
const everyOther = (clock: FakeClock): ScriptedCarbon => {
  const begun = clock.now()
  return new ScriptedCarbon((unixMs) => (Math.floor((unixMs - begun) / hour) % 2 === 0 ? 400 : 100))
}

describe('pauseAbove', () => {
  it('pauses between steps after a checkpoint, and ends with the same bits', async () => {
    await inWorld(async () => {
      const clock = new FakeClock()
      const free = await train('free', {})
      const saved: (number | undefined)[] = []
      const carbon = everyOther(clock)
      const held = await train(
        'held',
        { pauseAbove: 300 },
        // Between two steps an hour goes by, and in each pause another.
        { carbon, carbonGate: { clock }, beforeStep: ({ step }) => clock.sleep(step === 1 ? 0 : hour) },
        (event) => {
          if (event.type === 'checkpoint') saved.push(event.step)
        },
      )
      expect(await contentsOf('held', 6)).toEqual(await contentsOf('free', 6))
      const shown = held.events.filter(({ type }) => type === 'pause' || type === 'resume' || type === 'checkpoint')
      // The state before step 1 is no work that could be lost.
      expect(shown.map((event) => [event.type, 'step' in event ? event.step : undefined])).toEqual([
        ['pause', 0],
        ['resume', 0],
        // The hour before step 2 goes by after the gate has let it pass.
        ...[2, 3, 4, 5].flatMap((step) => [
          ['checkpoint', step],
          ['pause', step],
          ['resume', step],
        ]),
        ['checkpoint', 6],
      ])
      expect(saved).toEqual([2, 3, 4, 5, 6])
      expect(held.events.find(({ type }) => type === 'pause')).toMatchObject({
        reason: 'grid',
        gramsPerKilowattHour: 400,
        forecastGramsPerKilowattHour: 100,
        message: expect.stringContaining('saves about 75 %') as string,
      })
      expect(held.result.pausedMs).toBe(5 * hour)
      // Hours of pauses are in no figure of speed.
      expect(held.result.durationMs).toBeLessThan(hour)
      expect(free.result.pausedMs).toBe(0)
      const log = (await readFile(join(root, 'held', 'logging.jsonl'), 'utf8')).trim().split('\n')
      const types = log.map((line) => (JSON.parse(line) as { type: string }).type)
      expect(types.filter((type) => type === 'pause')).toHaveLength(5)
      const notes = await Ledger.notes(join(root, 'held', 'energy'))
      expect(notes.filter(({ code }) => code === 'NOTE_CARBON_PAUSE')).toHaveLength(5)
    })
  })

  it('books the energy of a pause to it, and to no step', async () => {
    await inWorld(async ({ tree }) => {
      const clock = new FakeClock()
      const begun = clock.now()
      clock.onSleep = async () => {
        // In steps, as power comes; real time, for the sampler, also before the first and after the last step: it is to
        // see each of them within the pause.
        await new Promise((resolve) => setTimeout(resolve, 300))
        for (let part = 0; part < 10; part += 1) {
          tree.add(zone, 500_000_000n)
          await new Promise((resolve) => setTimeout(resolve, 50))
        }
        await new Promise((resolve) => setTimeout(resolve, 300))
      }
      const carbon = new ScriptedCarbon((unixMs) => (unixMs < begun + 10 * minute ? 400 : 100))
      const { result } = await train('booked', { pauseAbove: 300, maxSteps: 2 }, { carbon, carbonGate: { clock } })
      const rowsByKey = new Map(result.energy?.rows.map((row) => [row.key, row.energy.measured?.nanojoules ?? 0n]))
      // Two looks of 5 J each; the reading before a pause ends may fall after it.
      expect(clock.waits).toEqual([5 * minute, 5 * minute])
      const sum = [...rowsByKey.values()].reduce((total, nanojoules) => total + nanojoules, 0n)
      expect(sum).toBeLessThanOrEqual(10_000_000_000n)
      expect(rowsByKey.get('pause')).toBeGreaterThan(9_000_000_000n)
      expect(result.energy?.machine.energy.measured?.nanojoules).toBe(10_000_000_000n)
      // Time in the pause is real time here: about a second for each look.
      const steps = result.durationMs
      expect(steps).toBeGreaterThan(0)
      expect(result.planComparison?.actualSeconds).toBeCloseTo(steps / 1000, 9)
    })
  })

  it('goes on, with a coded note, when the provider fails at the start, in a pause, or never answers', async () => {
    await inWorld(async () => {
      const clock = new FakeClock()
      const away = everyOther(clock)
      away.error = new SwiftError({
        code: 'ERR_CARBON_UNREACHABLE',
        asked: 'a',
        found: 'the host is away',
        remedy: 'r',
      })
      const atStart = await train('away', { pauseAbove: 300, deadline: '9h' }, { carbon: away, carbonGate: { clock } })
      expect(atStart.result.reason).toBe('finished')
      expect(atStart.codes).toContain('WARN_CARBON_UNKNOWN')
      const told = atStart.events.flatMap((event) => (event.type === 'note' ? [event.message] : []))
      expect(told.filter((message) => message.includes('ERR_CARBON_UNREACHABLE'))).toHaveLength(2)

      const breaking = everyOther(clock)
      clock.onSleep = () => {
        breaking.error = away.error
      }
      const inPause = await train(
        'breaking',
        { pauseAbove: 50 },
        { carbon: breaking, carbonGate: { clock, resumeBelow: 150 } },
      )
      expect(inPause.result.reason).toBe('finished')
      expect(inPause.events.find(({ type }) => type === 'resume')).toMatchObject({
        message: expect.stringContaining('the provider does not answer') as string,
      })

      const silent = everyOther(clock)
      silent.isSilent = true
      const init = { carbon: silent, carbonGate: { clock, answerMs: 50 } }
      // The plan and the report ask for a factor too; they are not what is tested.
      const factor = silent.doFactor.bind(silent)
      let asked = 0
      silent.doFactor = (...call) => {
        asked += 1
        return asked === 2 ? factor(...call) : new ScriptedCarbon(() => 400).doFactor(...call)
      }
      const never = await train('silent', { pauseAbove: 300, deadline: '9h' }, init)
      expect(never.result.reason).toBe('finished')
      expect(never.codes.filter((code) => code === 'WARN_CARBON_UNKNOWN')).toHaveLength(2)
    })
  })

  it('ends at once with the abort signal, and the run goes on from the checkpoint of the pause', async () => {
    await inWorld(async () => {
      await train('whole', {})
      const controller = new AbortController()
      // Clean for the first looks, then dirty for ever.
      let isDirty = false
      const carbon = new ScriptedCarbon(() => (isDirty ? 400 : 100))
      const init: Partial<TrainerInit> = {
        carbon: { id: 'blind', doFactor: (...call) => carbon.doFactor(...call) },
        carbonGate: { checkMs: 1 },
        signal: controller.signal,
        beforeStep: async ({ step }) => {
          isDirty = step === 3
        },
      }
      const stopped = await train('stopped', { pauseAbove: 300 }, init, (event) => {
        if (event.type === 'pause') setTimeout(() => controller.abort(), 20)
      })
      expect([stopped.result.reason, stopped.result.step]).toEqual(['aborted', 3])
      const rest = await train('stopped', { resumeFromCheckpoint: 'auto' })
      expect(rest.result.reason).toBe('finished')
      expect(await contentsOf('stopped', 6)).toEqual(await contentsOf('whole', 6))
    })
  })

  it('costs energy that a budget counts: a spent one ends the pause and the run', async () => {
    await inWorld(async ({ tree }) => {
      const clock = new FakeClock()
      const begun = clock.now()
      clock.onSleep = async () => {
        tree.add(zone, 30_000_000_000n)
        await new Promise((resolve) => setTimeout(resolve, 250))
      }
      const carbon = new ScriptedCarbon((unixMs) => (unixMs < begun + 9 * hour ? 400 : 100))
      const args = { pauseAbove: 300, energyBudget: '100J' }
      const { result, codes } = await train('spent', args, { carbon, carbonGate: { clock } })
      expect(result.reason).toBe('energy-budget')
      expect(codes).toContain('ERR_ENERGY_BUDGET_SPENT')
      expect(clock.waits.length).toBeLessThan(8)
    })
  })
})

describe('deadline', () => {
  it('waits for the hours of lowest carbon, says what they save, and pauses no longer than the rest of the work', async () => {
    await inWorld(async () => {
      const clock = new FakeClock()
      const begun = clock.now()
      const carbon = new ScriptedCarbon((unixMs) =>
        unixMs >= begun + 2 * hour && unixMs < begun + 3 * hour ? 100 : 400,
      )
      const args = { deadline: '8h', duration: '1h', maxSteps: 2 }
      const { result, events } = await train('window', args, { carbon, carbonGate: { clock } })
      expect(clock.now()).toBe(begun + 2 * hour)
      expect(result.pausedMs).toBe(2 * hour)
      const [pause, resume] = events.filter(({ type }) => type === 'pause' || type === 'resume')
      expect(pause).toMatchObject({
        reason: 'start',
        step: 0,
        untilUnixMs: begun + 2 * hour,
        latestUnixMs: begun + 7 * hour,
        message: expect.stringContaining(
          'Waiting for a low-carbon window until 2026-03-04T14:00:00.000Z: forecast 100 g/kWh instead of 400 g/kWh now (75 % less)',
        ) as string,
      })
      expect(resume).toMatchObject({ pausedMs: 2 * hour })
      expect(result.energy?.rows.map(({ key }) => key)).toContain('pause')
    })
  })

  it('is no reason to refuse a run: it starts at once when it cannot be kept, or when no hours are cleaner', async () => {
    await inWorld(async () => {
      const clock = new FakeClock()
      const flat = { carbon: new ScriptedCarbon(() => 400), carbonGate: { clock } }
      const args = { maxSteps: 1 }
      const near = await train('near', { ...args, deadline: '30m', duration: '1h' }, flat)
      expect([near.result.reason, near.codes.includes('WARN_CARBON_DEADLINE')]).toEqual(['finished', true])
      const over = await train('over', { ...args, deadline: '2026-03-04T11:00:00Z' }, flat)
      expect([over.result.reason, over.codes.includes('WARN_CARBON_DEADLINE')]).toEqual(['finished', true])
      const same = await train('same', { ...args, deadline: '8h' }, flat)
      expect([same.result.pausedMs, same.codes.includes('NOTE_CARBON_START')]).toEqual([0, true])
    })
  })

  it('ends a pause in time, by the steps that were measured', async () => {
    await inWorld(async () => {
      const clock = new FakeClock()
      const begun = clock.now()
      let isDirty = false
      // Clean at the start; then dirty for ever, and nothing says until when.
      const source = new ScriptedCarbon(() => (isDirty ? 400 : 100))
      const carbon = {
        id: 'misleading',
        doFactor: source.doFactor.bind(source),
        doForecast: async (_zone: string, from: Date, until: Date) => [
          { startUnixMs: from.getTime() - 1, endUnixMs: from.getTime() + 1, gramsPerKilowattHour: 400 },
          { startUnixMs: from.getTime() + 1, endUnixMs: until.getTime() + 1, gramsPerKilowattHour: 100 },
        ],
      }
      const { result, events } = await train(
        'measured',
        { pauseAbove: 300, deadline: '5h', maxSteps: 4 },
        {
          carbon,
          carbonGate: { clock },
          beforeStep: async ({ step }) => {
            isDirty = step === 2
            if (step === 2) await clock.sleep(hour)
          },
        },
      )
      expect(result.reason).toBe('finished')
      const last = events.filter((event) => event.type === 'pause').at(-1)
      // Two steps are left; each took a fraction of a second.
      const latest = last?.type === 'pause' ? (last.latestUnixMs ?? 0) : 0
      expect(latest).toBeLessThan(begun + 5 * hour)
      expect(latest).toBeGreaterThan(begun + 5 * hour - 10 * minute)
      const resumed = events.filter((event) => event.type === 'resume').at(-1)
      expect(resumed).toMatchObject({ message: expect.stringContaining('the deadline leaves no more time') as string })
      expect(clock.now()).toBeLessThanOrEqual(begun + 5 * hour)
    })
  })
})

describe('powerLimit', () => {
  it('holds for the run and is put back at its end, after an error, and at the next start after a kill', async () => {
    await inWorld(async ({ limit, state }) => {
      const seen: string[] = []
      const args = { powerLimit: `powercap:${zone}=90000000`, maxSteps: 2 }
      const beforeStep = async (): Promise<void> => {
        seen.push(limit())
      }
      const { codes } = await train('limited', args, { beforeStep })
      expect([seen, limit(), await readdir(state)]).toEqual([['90000000', '90000000'], '200000000', []])
      expect(codes).toEqual(expect.arrayContaining(['NOTE_POWER_LIMIT', 'NOTE_POWER_RESTORED']))
      expect((await Ledger.notes(join(root, 'limited', 'energy'))).map(({ code }) => code)).toContain(
        'NOTE_POWER_LIMIT',
      )

      const failing = train('failing', args, { beforeStep: () => Promise.reject(new Error('broken')) })
      expect(await codeOf(failing)).toContain('broken')
      expect([limit(), await readdir(state)]).toEqual(['200000000', []])

      expect(await codeOf(train('refused', { powerLimit: 'powercap:none=1' }))).toBe('ERR_POWER_SETTING')
      expect(limit()).toBe('200000000')
    })
  })

  it('is lowered by a soft budget', async () => {
    await inWorld(async ({ tree, limit }) => {
      const seen: string[] = []
      const { result, codes } = await train(
        'lowered',
        {
          powerLimit: `powercap:*=150000000, soft powercap:*=80000000, soft powercap:other=1`,
          energyBudget: 'soft 50J',
          maxSteps: 5,
        },
        {
          beforeStep: async ({ step }) => {
            if (step > 1) tree.add(zone, 40_000_000_000n)
            await new Promise((resolve) => setTimeout(resolve, 250))
            seen.push(limit())
          },
        },
      )
      expect(result.reason).toBe('finished')
      expect([seen[0], seen.at(-1), limit()]).toEqual(['150000000', '80000000', '200000000'])
      // A limit that cannot be set stops nothing.
      expect(codes).toEqual(expect.arrayContaining(['WARN_ENERGY_BUDGET_SOFT', 'WARN_POWER_LIMIT']))
    })
  })
})

describe('schedules that cannot be', () => {
  it.each<[string, TrainerOptions]>([
    ['a deadline', { deadline: 'soon' }],
    ['a duration', { deadline: '8h', duration: 'long' }],
    ['a duration without a deadline', { duration: '1h' }],
    ['a power limit', { powerLimit: 'low' }],
    ['a soft limit that nothing brings', { powerLimit: 'soft powercap:*=1', energyBudget: '1kWh' }],
    ['a provider', { carbon: 'sun' as unknown as 'uk' }],
    ['grams', { pauseAbove: -1 }],
  ])('are refused before anything is done: %s', (_what, options) => {
    expect(() => new TrainerArguments(options)).toThrow(
      expect.objectContaining({ code: 'ERR_OPTION_INVALID' }) as Error,
    )
  })

  it('are refused where the provider can never keep them', async () => {
    await inWorld(async () => {
      expect(await codeOf(train('constant', { carbon: 'static', pauseAbove: 300 }))).toBe('ERR_OPTION_INVALID')
      expect(await codeOf(train('blind', { carbon: 'static', deadline: '8h' }))).toBe('ERR_CARBON_FORECAST')
    })
  })
})
