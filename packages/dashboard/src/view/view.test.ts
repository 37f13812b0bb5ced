import { describe, expect, it } from 'vitest'
import type { AccountEntry, EnergySeries, RunData, SeriesBand } from '../run-data.ts'
import { columnMaximum, compareRun, difference } from './compare.ts'
import { formatDuration, formatLoss, formatMeasure, formatSplit, sumOfSplit } from './format.ts'
import { accountTree, findNode, layOut, moveTo, pathTo } from './icicle.ts'
import { limitLines } from './limits.ts'
import { lossCurve } from './loss.ts'
import { scopeInterval } from './scope-interval.ts'
import { assignColours, makeStack, phaseColours, stackTops } from './stack.ts'

const quantity = (value: number, spread = 0.1) => ({ value, low: value * (1 - spread), high: value * (1 + spread) })

function band(key: string, joules: readonly number[], more: Partial<SeriesBand> = {}): SeriesBand {
  return { key, kind: 'phase', share: 'active', energyClass: 'measured', joules, ...more }
}

function series(bands: readonly SeriesBand[], parts: readonly number[] = [0, 0, 0]): EnergySeries {
  return { startSeconds: [0, 1, 2], endSeconds: [1, 2, 4], parts, bands, reworkedJoules: 0 }
}

function run(members: Partial<RunData> = {}): RunData {
  const nothing = { log: [], evaluations: [], budgets: [], settings: [], machine: [], problems: [] }
  return { id: 'a', name: 'a', folder: 'runs/a', state: 'finished', ...nothing, ...members }
}

/** What this test needs of a ledger: two classes, of which only one has a wide interval. */
const energy: NonNullable<RunData['energy']> = {
  runId: 'r',
  durationSeconds: 4,
  phases: { measured: quantity(90, 0.02), modelled: quantity(10, 0.5) },
  machine: {},
  carbon: {},
  factor: { zone: 'WORLD', gramsPerKilowattHour: 500, kind: 'location-average', source: '', validFor: '', licence: '' },
  factors: 1,
  powerUsageEffectiveness: 1,
  accounts: [],
  sources: [],
  gaps: [],
}

describe('formats', () => {
  it('chooses a unit that reads well and never an exponent', () => {
    const plain = (text: string): string => text.replaceAll('\u202F', ' ')
    expect(plain(formatMeasure('joules', 0.0042))).toBe('4.2 mJ')
    expect(plain(formatMeasure('joules', 229))).toBe('229 J')
    expect(plain(formatMeasure('joules', 7.2e6))).toBe('7.2 MJ')
    expect(plain(formatMeasure('kilowattHours', 0.0000636))).toBe('63.6 mWh')
    expect(plain(formatMeasure('kilowattHours', 0.0123))).toBe('12.3 Wh')
    expect(plain(formatMeasure('kilowattHours', 6.36))).toBe('6.36 kWh')
    expect(plain(formatMeasure('carbon', 0.0301))).toBe('30.1 mgCO2e')
    expect(plain(formatMeasure('joulesPerToken', 0.00113))).toBe('1.13 mJ/token')
    expect(plain(formatDuration(200))).toBe('3 min 20 s')
    expect(plain(formatDuration(59.99))).toBe('60 s')
    expect(plain(formatDuration(7500))).toBe('2 h 5 min')
    expect([formatLoss(0.0053), formatLoss(0.00002)]).toEqual(['0.0053', '2.00e-5'])
  })

  it('writes both classes with their intervals, and unavailable for none', () => {
    const text = formatSplit('joules', energy.phases).replaceAll('\u202F', ' ')
    expect(text).toBe('90 J [88.2–91.8 J] measured + 10 J [5–15 J] modelled')
    expect(formatSplit('joules', {})).toBe('unavailable')
  })
})

describe('the stack', () => {
  const bands = [
    band('train/forward', [1, 2, 4]),
    band('train/forward', [1, 1, 1], { share: 'idle' }),
    band('train/backward', [2, 2, 2]),
    band('train/forward', [0.5, 0.5, 0.5], { energyClass: 'modelled' }),
    band('other_tenants', [1, 1, 1], { kind: 'other_tenants' }),
  ]

  it('adds the idle share to its phase, leaves it out, or shows the machine', () => {
    const joules = (scope: 'phases' | 'own' | 'machine'): Record<string, number> =>
      Object.fromEntries(makeStack(series(bands), scope, 'energy').layers.map(({ label, joules }) => [label, joules]))
    expect(joules('phases')).toEqual({ 'train/forward': 11.5, 'train/backward': 6 })
    expect(joules('own')).toEqual({ 'train/forward': 8.5, 'train/backward': 6 })
    expect(joules('machine')).toEqual({ 'train/forward': 11.5, 'train/backward': 6, 'other processes': 3 })
  })

  it('says which classes are inside, and shows one alone', () => {
    expect(makeStack(series(bands), 'phases', 'energy').classes).toEqual(['measured', 'modelled'])
    const alone = makeStack(series(bands), 'phases', 'energy', 'modelled')
    expect(alone.classes).toEqual(['modelled'])
    expect(alone.layers.map(({ joules }) => joules)).toEqual([1.5])
  })

  it('draws joules that only grow, and watts that hold over each stretch', () => {
    const grown = makeStack(series(bands), 'own', 'energy')
    expect(grown.x).toEqual([0, 1, 2, 4])
    expect(stackTops(grown.layers).at(-1)).toEqual([0, 3.5, 8, 14.5])
    const power = makeStack(series(bands), 'own', 'power')
    expect(power.x).toEqual([0, 1, 2, 4])
    // The last stretch took two seconds.
    expect(stackTops(power.layers).at(-1)).toEqual([3.5, 4.5, 3.25, 3.25])
  })

  it('leaves a hole between two parts of a run, and none where the journal goes on in a new file', () => {
    const resumed = { ...series([band('eval', [1, 2, 4])], [0, 0, 1]), startSeconds: [0, 1, 3] }
    const { x, layers } = makeStack(resumed, 'own', 'power')
    expect(x).toEqual([0, 1, 2, 3, 4])
    expect(layers[0]?.values).toEqual([1, 2, null, 4, 4])
    const rotated = makeStack(series([band('eval', [1, 2, 4])], [0, 0, 1]), 'own', 'power')
    expect(rotated.x).toEqual([0, 1, 2, 4])
    expect(rotated.layers[0]?.values).toEqual([1, 2, 2, 2])
  })

  it('folds what has no colour left into one layer that says how many', () => {
    const many = Array.from({ length: 10 }, (_, index) => band(`work-${index}`, [1, 1, 10 - index]))
    const { layers } = makeStack(series(many), 'own', 'energy')
    expect(layers).toHaveLength(phaseColours + 1)
    expect(layers.at(-1)).toMatchObject({ label: '4 smaller phases', colour: undefined })
    const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
    expect(sum(layers.map(({ joules }) => joules))).toBe(sum(many.flatMap(({ joules }) => joules)))
  })

  it('gives the same work the same colour in every run', () => {
    const first = assignColours(['train/backward', 'train/forward', 'plan'])
    const second = assignColours(['load', 'train/forward', 'generate/prefill', 'train/optimizer'])
    expect(first.get('train/forward')).toBe(second.get('train/forward'))
    expect(new Set(first.values()).size).toBe(3)
  })
})

describe('the accounts', () => {
  const account = (kind: AccountEntry['kind'], path: string, joules: number): AccountEntry => ({
    kind,
    path,
    energy: { measured: quantity(joules) },
  })
  const accounts = [
    account('idle', 'train/epoch:0/forward', 30),
    account('idle', '', 10),
    account('phase', 'train/epoch:0', 1),
    account('phase', 'train/epoch:0/forward', 20),
    account('phase', 'train/epoch:1/forward', 25),
    account('overhead', '', 4),
  ]
  const root = accountTree(accounts, false)

  it('adds up to the machine, an account with children keeping what is its own', () => {
    expect(sumOfSplit(root.energy)).toBeCloseTo(90, 9)
    const epoch = findNode(root, 'machine/phase/train/epoch:0')
    expect(epoch?.children.map(({ label }) => label)).toEqual(['forward', 'itself'])
    expect(sumOfSplit(epoch?.energy ?? {})).toBeCloseTo(21, 9)
    expect(findNode(root, 'machine/idle')?.children.map(({ label }) => label)).toEqual(['train', 'outside phases'])
  })

  it('fills every row no wider than the row above', () => {
    const cells = layOut(root)
    for (const { node, left, width, depth } of cells) {
      const below = cells.filter(({ node: other }) => node.children.includes(other))
      if (below.length === 0) continue
      expect(below.every((cell) => cell.depth === depth + 1)).toBe(true)
      expect(below[0]?.left).toBeCloseTo(left, 9)
      expect(below.reduce((sum, cell) => sum + cell.width, 0)).toBeCloseTo(width, 9)
    }
  })

  it('give the interval of what a stack shows', () => {
    expect(scopeInterval(accounts, 'own').value).toBeCloseTo(46, 9)
    expect(scopeInterval(accounts, 'phases').value).toBeCloseTo(76, 9)
    const machine = scopeInterval(accounts, 'machine')
    expect([machine.low, machine.value, machine.high].map((value) => Number(value.toFixed(9)))).toEqual([81, 90, 99])
    expect(scopeInterval(accounts, 'machine', 'modelled')).toEqual({ value: 0, low: 0, high: 0 })
  })

  it('merges epochs when asked to', () => {
    const merged = accountTree(accounts, true)
    expect(sumOfSplit(findNode(merged, 'machine/phase/train/forward')?.energy ?? {})).toBeCloseTo(45, 9)
    expect(sumOfSplit(merged.energy)).toBeCloseTo(90, 9)
  })

  it('moves by arrow keys and knows the way back', () => {
    const cells = layOut(root)
    expect(moveTo(cells, 'machine', 'down')).toBe('machine/phase')
    expect(moveTo(cells, 'machine/phase', 'right')).toBe('machine/idle')
    expect(moveTo(cells, 'machine/phase', 'left')).toBe('machine/phase')
    expect(moveTo(cells, 'machine/idle', 'last')).toBe('machine/overhead')
    expect(moveTo(cells, 'machine/idle/train', 'up')).toBe('machine/idle')
    expect(moveTo(cells, 'gone', 'down')).toBe('machine')
    expect(pathTo(root, 'machine/phase/train').map(({ label }) => label)).toEqual(['machine', 'phases', 'train'])
  })
})

describe('the loss', () => {
  const log = [
    { step: 10, loss: 4, tokens: 100, measuredJoules: 30, modelledJoules: 5 },
    { step: 20, tokens: 200, measuredJoules: 60, modelledJoules: 10 },
    { step: 30, loss: 1, tokens: 300, measuredJoules: 90, modelledJoules: 10 },
  ]
  const evaluations = [{ step: 25, loss: 1.5, isBest: true }]

  it('stands against joules, with evaluations between the lines and the interval of the last', () => {
    const curve = lossCurve(run({ log, evaluations, energy }), 'joules')
    expect(curve.x).toEqual([35, 70, 100])
    expect(curve.y).toEqual([4, null, 1])
    expect(curve.evaluationX).toEqual([85])
    expect(curve.classes).toEqual(['measured', 'modelled'])
    expect(curve.interval?.low).toBeCloseTo(88.2 + 5, 6)
    expect(curve.interval?.high).toBeCloseTo(91.8 + 15, 6)
  })

  it('stands against steps and tokens, without classes', () => {
    expect(lossCurve(run({ log, evaluations }), 'steps')).toMatchObject({ x: [10, 20, 30], evaluationX: [25] })
    expect(lossCurve(run({ log }), 'tokens')).toMatchObject({ x: [100, 200, 300], classes: [] })
  })

  it('leaves out what has no joules instead of drawing it at 0', () => {
    expect(lossCurve(run({ log: [{ step: 1, loss: 2 }, ...log] }), 'joules').x).toEqual([35, 70, 100])
  })
})

describe('the comparison', () => {
  it('gives each figure of a run, and nothing where there is none', () => {
    const compared = compareRun(
      run({ energy, tokens: 1000, trainingSeconds: 2, log: [{ step: 1, loss: 3 }, { step: 2 }] }),
    )
    expect(compared.kilowattHours.measured?.value).toBeCloseTo(90 / 3.6e6, 12)
    expect(compared.joulesPerToken.modelled).toEqual({ value: 0.01, low: 0.005, high: 0.015 })
    expect(compared).toMatchObject({ loss: 3, tokensPerSecond: 500, seconds: 4 })
    expect(compareRun(run())).toEqual({ run: run(), kilowattHours: {}, joulesPerToken: {}, carbon: {} })
  })

  it('says when intervals overlap', () => {
    expect(difference(quantity(110), quantity(100))).toEqual({ fraction: 0.1, overlaps: true })
    expect(difference(quantity(200), quantity(100))).toEqual({ fraction: 1, overlaps: false })
    expect(difference(undefined, quantity(100))).toBeUndefined()
    expect(columnMaximum([{ measured: quantity(10) }, { modelled: quantity(20, 0.5) }, {}])).toBe(30)
  })
})

describe('limits', () => {
  const stack = makeStack(series([band('eval', [10, 10, 10])]), 'own', 'energy')

  it('draws a budget and a forecast that are near, and tells the others', () => {
    const limited = run({
      step: 5,
      totalSteps: 10,
      forecast: { measuredJoules: 40 },
      budgets: [
        { label: '50 J', joules: 50, isHard: true },
        { label: '1kWh', joules: 3.6e6, isHard: false },
        { label: '0.1J/token', isHard: true },
      ],
    })
    const { shown, notes } = limitLines(limited, stack, 'energy')
    expect(shown.map(({ kind, joules }) => [kind, joules])).toEqual([
      ['budget', 50],
      ['forecast', 40],
    ])
    expect(notes).toHaveLength(2)
    expect(notes[0]).toContain('soft budget 1kWh')
    expect(limitLines(limited, stack, 'power')).toEqual({ shown: [], notes: [] })
  })
})
