import type { EnergySourceDescriptor, EnergySplit, SettledEnergy } from '@swift/spec'
import { addSplits, amountOf, splitOf, unavailableSplit } from './amounts.ts'

interface NativeSettled {
  readonly durationNanoseconds: number
  readonly estimated: boolean
  readonly sources: readonly {
    readonly source: string
    readonly active: string
    readonly idle: string
    /** Error of `active` because the phase began and ended between two readings. */
    readonly edge: string
  }[]
}

/** The energy of one phase from the JSON text the native meter gives. */
export function readSettled(path: string, json: string, sources: readonly EnergySourceDescriptor[]): SettledEnergy {
  const settled = JSON.parse(json) as NativeSettled
  const byId = new Map(sources.map((source) => [source.id, source]))
  const sum = (pick: 'active' | 'idle'): EnergySplit =>
    settled.sources.reduce((total, part) => {
      const source = byId.get(part.source)
      const permille = BigInt(Math.round((source?.relativeUncertainty ?? 0) * 1000))
      const energyClass = source?.provenance === 'modelled' ? 'modelled' : 'measured'
      const edge = pick === 'active' ? BigInt(part.edge) : 0n
      return addSplits(total, splitOf(energyClass, amountOf(BigInt(part[pick]), permille, edge, edge)))
    }, unavailableSplit)
  return {
    path,
    durationNanoseconds: BigInt(settled.durationNanoseconds),
    active: sum('active'),
    idle: sum('idle'),
    estimated: settled.estimated,
  }
}
