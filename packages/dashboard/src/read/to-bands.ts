import type { LedgerGain, LedgerSeries } from '@swift/energy'
import type { EnergySeries, SeriesBand } from '../run-data.ts'
import { placeCorrections } from './place-corrections.ts'

/** `train/epoch:3/forward` is `train/forward`: the same work in every epoch. */
export function phaseClass(path: string): string {
  const named = path.split('/').filter((segment) => !/:\d+$/.test(segment))
  return named.length > 0 ? named.join('/') : path
}

interface Band {
  readonly band: Omit<SeriesBand, 'joules'>
  readonly nanojoules: bigint[]
}

function describe({ kind, path, energyClass }: LedgerGain): Omit<SeriesBand, 'joules'> {
  const isIdleOfPhase = kind === 'idle' && path !== ''
  if (kind === 'phase' || isIdleOfPhase) {
    return { key: phaseClass(path), kind: 'phase', share: isIdleOfPhase ? 'idle' : 'active', energyClass }
  }
  return { key: kind, kind, share: 'active', energyClass }
}

function sum(amounts: readonly bigint[]): bigint {
  return amounts.reduce((total, amount) => total + amount, 0n)
}

/**
 * Energy over time by class of work. Sums are made in nanojoules and converted at the end; bands are ordered by size
 * inside their kind, phases first.
 */
export function toBands(series: LedgerSeries): EnergySeries {
  const bands = new Map<string, Band>()
  for (const [index, { gains }] of series.points.entries()) {
    for (const gain of gains) {
      const band = describe(gain)
      const id = `${band.kind} ${band.key} ${band.share} ${band.energyClass}`
      let found = bands.get(id)
      if (found === undefined) {
        found = { band, nanojoules: Array.from({ length: series.points.length }, () => 0n) }
        bands.set(id, found)
      }
      found.nanojoules[index] = (found.nanojoules[index] ?? 0n) + gain.nanojoules
    }
  }
  for (const ofClass of Map.groupBy(bands.values(), ({ band }) => band.energyClass).values()) placeCorrections(ofClass)
  const order = (band: Band): number => (band.band.kind === 'phase' ? 0 : 1)
  const ordered = [...bands.values()].toSorted(
    (a, b) => order(a) - order(b) || Number(sum(b.nanojoules) - sum(a.nanojoules)),
  )
  const zero = series.points[0]?.startUnixMs ?? 0
  const seconds = (unixMs: number): number => (unixMs - zero) / 1000
  const reworked = series.parts
    .flatMap(({ moved }) => moved)
    .filter(({ kind, nanojoules }) => kind === 'rework' && nanojoules > 0n)
  return {
    startSeconds: series.points.map(({ startUnixMs }) => seconds(startUnixMs)),
    endSeconds: series.points.map(({ endUnixMs }) => seconds(endUnixMs)),
    parts: series.points.map(({ part }) => part),
    bands: ordered.map(({ band, nanojoules }) => ({
      ...band,
      joules: nanojoules.map((amount) => Number((Number(amount) / 1e9).toPrecision(6))),
    })),
    reworkedJoules: Number(sum(reworked.map(({ nanojoules }) => nanojoules))) / 1e9,
  }
}
