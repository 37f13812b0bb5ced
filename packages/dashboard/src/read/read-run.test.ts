import { appendFile, cp, mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { makeRun, TestFolder, writeLog } from '../test-support/make-run.ts'
import type { RunData } from '../run-data.ts'
import { readRun } from './read-run.ts'

let folder: TestFolder
let whole: string

const read = (path: string): Promise<RunData> => readRun({ id: 'x', name: 'x', folder: path })
const codes = (run: RunData): string[] => run.problems.map(({ code }) => code)

beforeAll(async () => {
  folder = await TestFolder.make()
  whole = folder.join('whole')
  await makeRun(whole, { args: { energyBudget: 'soft 20J, 3600000 J, 0.01J/token' } })
})

afterAll(() => folder[Symbol.asyncDispose]())

async function copy(name: string): Promise<string> {
  const path = folder.join(name)
  await cp(whole, path, { recursive: true })
  return path
}

async function segment(path: string): Promise<string> {
  const name = (await readdir(`${path}/energy`)).find((entry) => entry.endsWith('.swj'))
  return `${path}/energy/${name}`
}

describe('a whole run', () => {
  it('has its energy measured and modelled apart, and the counter to the joule', async () => {
    const run = await read(whole)
    expect(run.problems).toEqual([])
    expect(run.state).toBe('finished')
    expect(run.reason).toBe('finished')
    const { energy } = run
    // Four phases of 3 J by the fake counter; its interval is 2 % on both sides, and more where phases meet.
    expect(energy?.machine.measured?.value).toBeCloseTo(12, 3)
    expect(energy?.machine.measured?.low).toBeLessThanOrEqual(12 * 0.981)
    expect(energy?.machine.measured?.high).toBeGreaterThanOrEqual(12 * 1.019)
    expect(energy?.machine.modelled?.value).toBeGreaterThan(0)
    expect(energy?.verification?.ok).toBe(true)
    expect(energy?.sources.map(({ provenance }) => provenance)).toContain('measured_counter')
  })

  it('has accounts and bands that add up to the machine', async () => {
    const { energy } = await read(whole)
    for (const name of ['measured', 'modelled'] as const) {
      const machine = energy?.machine[name]?.value ?? Number.NaN
      const accounts = (energy?.accounts ?? []).reduce((sum, account) => sum + (account.energy[name]?.value ?? 0), 0)
      const bands = (energy?.series?.bands ?? [])
        .filter(({ energyClass }) => energyClass === name)
        .reduce((sum, { joules }) => sum + joules.reduce((total, value) => total + value, 0), 0)
      // Each figure is rounded to six digits.
      expect(accounts / machine, `accounts, ${name}`).toBeCloseTo(1, 4)
      expect(bands / machine, `bands, ${name}`).toBeCloseTo(1, 4)
    }
    const keys = energy?.series?.bands.map(({ key }) => key)
    expect(keys).toContain('train/forward')
    expect(keys?.join(' ')).not.toMatch(/epoch/)
  })

  it('has its log, its plan and its budget', async () => {
    const run = await read(whole)
    expect(run.log).toHaveLength(40)
    expect(run.evaluations).toEqual([{ step: 40, loss: 0.55, isBest: true }])
    expect(run).toMatchObject({ step: 40, totalSteps: 40, tokens: 4000, trainingSeconds: 0.28 })
    expect(run.forecast).toEqual({ measuredJoules: 10, seconds: 0.2 })
    expect(run.machine).toContainEqual({ name: 'device', value: 'cpu' })
    expect(run.budgets).toEqual([
      { label: '20J', joules: 20, isHard: false },
      { label: '3600000 J', joules: 3_600_000, isHard: true },
      { label: '0.01J/token', isHard: true },
    ])
  })

  it('is the same as the folder of its ledger alone, without what is not there', async () => {
    const run = await read(`${whole}/energy`)
    expect(run.energy?.machine.measured?.value).toBeCloseTo(12, 3)
    expect(run.log).toEqual([])
    expect(codes(run)).toEqual([])
  })

  it('is JSON', async () => {
    const run = await read(whole)
    expect(JSON.parse(JSON.stringify(run))).toEqual(run)
  })
})

describe('a run folder with something wrong', () => {
  it('is named when it is missing', async () => {
    const run = await read(folder.join('nowhere'))
    expect(run.state).toBe('empty')
    expect(codes(run)).toEqual(['ERR_RUN_MISSING'])
  })

  it('is waited for when it is empty', async () => {
    const path = folder.join('empty')
    await mkdir(path)
    const run = await read(path)
    expect(run.state).toBe('empty')
    expect(codes(run)).toEqual(['WARN_RUN_EMPTY'])
  })

  it('shows the rest when plan and log are damaged, and counts what is left out', async () => {
    const path = await copy('damaged')
    await writeFile(`${path}/plan.json`, '{ "model": "ti')
    await writeFile(`${path}/args.json`, '[1, 2]')
    await appendFile(`${path}/logging.jsonl`, 'not json\n{"type":"log","loss":1}\n{"type":"log","step":41,"lo')
    const run = await read(path)
    expect(codes(run)).toEqual(['ERR_RUN_FILE', 'ERR_RUN_FILE', 'ERR_RUN_LOG_LINES'])
    expect(run.problems[2]?.found).toContain('2 of 43 lines')
    expect(run.log).toHaveLength(40)
    expect(run.energy?.machine.measured?.value).toBeCloseTo(12, 3)
  })

  it('keeps a hole where a loss is not a number', async () => {
    const path = await copy('not-finite')
    await appendFile(`${path}/logging.jsonl`, '{"type":"log","step":41,"loss":null,"tokens":4100}\n')
    const run = await read(path)
    expect(run.log.at(-1)).toEqual({ step: 41, tokens: 4100 })
    expect(codes(run)).toEqual(['WARN_LOSS_NOT_FINITE'])
  })

  it('shows losses without energy when the journal cannot be read', async () => {
    const path = await copy('no-journal')
    await writeFile(await segment(path), 'this is no journal, but it is long enough to look at')
    const run = await read(path)
    expect(run.energy).toBeUndefined()
    expect(run.log).toHaveLength(40)
    expect(codes(run)).toEqual([expect.stringMatching(/^ERR_LEDGER_/)])
    expect(run.problems[0]?.remedy).not.toBe('')
  })

  it('ends the figures before a damaged frame and says so', async () => {
    const path = await copy('flipped')
    const file = await segment(path)
    const bytes = await readFile(file)
    const at = Math.floor(bytes.length * 0.9)
    bytes[at] = (bytes[at] ?? 0) ^ 0x40
    await writeFile(file, bytes)
    const run = await read(path)
    expect(run.energy?.verification?.ok).toBe(false)
    expect(codes(run)).toContain('ERR_LEDGER_DAMAGED')
    expect(run.energy?.machine.measured?.value).toBeLessThan(12.001)
  })

  it('tells a run that is on from one that stopped without a word', async () => {
    const path = folder.join('killed')
    let during: RunData | undefined
    const live = folder.join('live')
    await makeRun(live, {
      beforeClose: async () => {
        during = await read(live)
        await cp(live, path, { recursive: true })
      },
    })
    expect(during?.state).toBe('running')
    // A ledger cut before its close, whose last commit is long ago, as after kill -9 yesterday.
    await truncate(await segment(path), (await readFile(await segment(path))).length - 3)
    const realNow = Date.now
    Date.now = () => realNow() + 3_600_000
    try {
      const run = await read(path)
      expect(run.state).toBe('stopped')
      expect(codes(run)).toEqual(['WARN_RUN_STOPPED'])
    } finally {
      Date.now = realNow
    }
  })

  it('says unavailable, not zero, where there is no ledger', async () => {
    const path = folder.join('log-only')
    await mkdir(path)
    await writeLog(path)
    const run = await read(path)
    expect(run.energy).toBeUndefined()
    expect(codes(run)).toEqual(['WARN_LEDGER_NONE'])
    expect(run.log).toHaveLength(40)
  })

  it('shows what the run noted beside its ledger', async () => {
    const path = await copy('noted')
    const note = {
      unixMs: 1,
      code: 'ERR_ENERGY_BUDGET_SPENT',
      message: 'The energy budget 5J is spent: 5.1 J (measured)',
    }
    await writeFile(`${path}/energy/notes.jsonl`, `${JSON.stringify(note)}\n{"unixMs":2,"co`)
    const run = await read(path)
    expect(run.problems).toMatchObject([{ severity: 'note', code: note.code, found: note.message }])
  })
})
