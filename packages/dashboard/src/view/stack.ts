import type { AccountKind, EnergyClass } from '@swift/spec'
import type { EnergySeries, SeriesBand } from '../run-data.ts'

/** What is stacked: phases with their idle share, what phases used themselves, or everything the machine used. */
export type StackScope = 'phases' | 'own' | 'machine'

/** Joules so far, or watts in each stretch. */
export type StackView = 'energy' | 'power'

/** One layer of a stack. */
export interface StackLayer {
  readonly key: string
  readonly label: string
  /** Index into the palette of phases; undefined for what is no phase. */
  readonly colour: number | undefined
  readonly kind: AccountKind
  /** Joules in all. */
  readonly joules: number
  /** Height of the layer itself at each x; null in a gap. */
  readonly values: readonly (number | null)[]
}

/** A stack over time, the lowest layer first. */
export interface Stack {
  /** Seconds. */
  readonly x: readonly number[]
  readonly layers: readonly StackLayer[]
  /** Classes that are inside: a sum over both must say so. */
  readonly classes: readonly EnergyClass[]
}

/** Colours that the palette has for phases. */
export const phaseColours = 6

/** Work that has a colour of its own on every page, by the last part of its name. */
const ownColours: readonly (readonly string[])[] = [
  ['forward', 'generate', 'decode'],
  ['backward', 'prefill'],
  ['optimizer'],
  ['eval'],
  ['checkpoint', 'load'],
  ['tokenise', 'rollout'],
]

/** What accounts that are no phase are called. */
export const accountLabels: Readonly<Record<AccountKind, string>> = {
  phase: 'phases',
  idle: 'idle, outside phases',
  other_tenants: 'other processes',
  unattributed: 'outside phases',
  gap: 'gap in the readings',
  rework: 'rework',
  overhead: 'the ledger itself',
}

const neutralOrder: readonly AccountKind[] = ['idle', 'other_tenants', 'unattributed', 'rework', 'gap', 'overhead']

interface Group {
  readonly key: string
  readonly kind: AccountKind
  readonly joules: number[]
  readonly total: number
}

function belongs({ kind, share }: SeriesBand, scope: StackScope): boolean {
  if (scope === 'machine') return true
  return kind === 'phase' && (scope === 'phases' || share === 'active')
}

function addInto(groups: Map<string, number[]>, key: string, joules: readonly number[]): void {
  const sums = groups.get(key)
  if (sums === undefined) groups.set(key, [...joules])
  else for (const [index, value] of joules.entries()) sums[index] = (sums[index] ?? 0) + value
}

const total = (joules: readonly number[]): number => joules.reduce((sum, value) => sum + value, 0)

function groupBands(bands: readonly SeriesBand[]): Group[] {
  const sums = new Map<string, number[]>()
  for (const { kind, key, joules } of bands) addInto(sums, `${kind} ${key}`, joules)
  return [...sums].map(([id, joules]) => {
    const at = id.indexOf(' ')
    return { kind: id.slice(0, at) as AccountKind, key: id.slice(at + 1), joules, total: total(joules) }
  })
}

/** Colours of phases: those with a fixed one first, the others take what is free, the largest first. */
export function assignColours(keys: readonly string[]): ReadonlyMap<string, number> {
  const taken = new Map<string, number>()
  const free = new Set(Array.from({ length: phaseColours }, (_, index) => index))
  for (const key of keys) {
    const name = key.split('/').at(-1) ?? key
    const index = ownColours.findIndex((names) => names.includes(name))
    if (index < 0 || !free.delete(index)) continue
    taken.set(key, index)
  }
  for (const key of keys) {
    const [index] = free
    if (taken.has(key) || index === undefined) continue
    free.delete(index)
    taken.set(key, index)
  }
  return taken
}

/** Phases by size; those beyond the palette become one layer that says how many it holds. */
function foldSmall(phases: readonly Group[]): Group[] {
  const sorted = phases.toSorted((a, b) => b.total - a.total)
  if (sorted.length <= phaseColours + 1) return sorted
  const small = sorted.slice(phaseColours)
  const sums = new Map<string, number[]>()
  for (const { joules } of small) addInto(sums, 'all', joules)
  const joules = sums.get('all') ?? []
  return [
    ...sorted.slice(0, phaseColours),
    { key: `${small.length} smaller phases`, kind: 'phase', joules, total: total(joules) },
  ]
}

/** A journal that goes on in a new file goes on at once; a program that was started again took longer than this. */
const shortestHoleSeconds = 0.5

/** Whether nothing was metered between a stretch and the one before it. */
function isHole({ startSeconds, endSeconds, parts }: EnergySeries, index: number): boolean {
  if (index === 0 || parts[index] === parts[index - 1]) return false
  return (startSeconds[index] ?? 0) - (endSeconds[index - 1] ?? 0) > shortestHoleSeconds
}

function toValues(joules: readonly number[], series: EnergySeries, view: StackView): (number | null)[] {
  const { startSeconds, endSeconds } = series
  if (view === 'energy') {
    let sum = 0
    return [0, ...joules.map((value) => (sum += value))]
  }
  const values: (number | null)[] = []
  for (const [index, value] of joules.entries()) {
    const seconds = (endSeconds[index] ?? 0) - (startSeconds[index] ?? 0)
    if (isHole(series, index)) values.push(null)
    values.push(seconds > 0 ? value / seconds : 0)
  }
  // The last stretch is as wide as the others: its height holds until its end.
  values.push(values.at(-1) ?? 0)
  return values
}

function toX(series: EnergySeries, view: StackView): number[] {
  const { startSeconds, endSeconds } = series
  if (view === 'energy') return [startSeconds[0] ?? 0, ...endSeconds]
  const x: number[] = []
  for (const [index, start] of startSeconds.entries()) {
    if (isHole(series, index)) x.push(endSeconds[index - 1] ?? start)
    x.push(start)
  }
  x.push(endSeconds.at(-1) ?? 0)
  return x
}

/**
 * Energy over time as layers to be drawn on top of each other.
 * @param energyClass draw one class alone; default: both, and {@link Stack.classes} tells what is in it
 */
export function makeStack(series: EnergySeries, scope: StackScope, view: StackView, energyClass?: EnergyClass): Stack {
  const bands = series.bands.filter(
    (band) => belongs(band, scope) && (energyClass === undefined || band.energyClass === energyClass),
  )
  const groups = groupBands(bands)
  const phases = foldSmall(groups.filter(({ kind }) => kind === 'phase'))
  const others = groups
    .filter(({ kind }) => kind !== 'phase')
    .toSorted((a, b) => neutralOrder.indexOf(a.kind) - neutralOrder.indexOf(b.kind))
  const colours = assignColours(phases.map(({ key }) => key))
  return {
    x: toX(series, view),
    layers: [...phases, ...others].map((group) => ({
      key: `${group.kind}/${group.key}`,
      label: group.kind === 'phase' ? group.key : accountLabels[group.kind],
      colour: group.kind === 'phase' ? colours.get(group.key) : undefined,
      kind: group.kind,
      joules: group.total,
      values: toValues(group.joules, series, view),
    })),
    classes: [...new Set(bands.map((band) => band.energyClass))].toSorted(),
  }
}

/** Heights of the tops of the layers, the lowest first. */
export function stackTops(layers: readonly StackLayer[]): (number | null)[][] {
  const tops: (number | null)[][] = []
  for (const { values } of layers) {
    const below = tops.at(-1)
    tops.push(values.map((value, index) => (value === null ? null : value + (below?.[index] ?? 0))))
  }
  return tops
}
