import type {
  AccountKind,
  CarbonAmount,
  CarbonProvider,
  CarbonSplit,
  EnergyAmount,
  EnergyReport,
  EnergyReportRow,
  EnergySplit,
  LedgerEntry,
  LedgerTotals,
} from '@swift/spec'
import { SwiftError } from '@swift/spec'
import { addSplits, sumEntries } from './amounts.ts'
import { StaticCarbonProvider } from './carbon/static-carbon-provider.ts'
import { uncertaintyLookup } from './read-state.ts'

/** What a report shows and what it derives carbon from. */
export interface ReportOptions {
  /**
   * Rows: `epoch` groups phases by their `epoch:N` segment (others by their first segment); `phase` by their path
   * without `name:N` segments; `path` is every path; `account` is every kind of account. Default `epoch`.
   */
  readonly per?: EnergyReport['per']
  /** Where the grid factor comes from. Default: the built-in yearly averages. */
  readonly carbon?: CarbonProvider
  /** Grid zone. Default: env `SWIFT_CARBON_ZONE`, else `WORLD`. */
  readonly zone?: string
  /** Power usage effectiveness of the building, at least 1. Applies to carbon only. Default 1. */
  readonly pue?: number
}

/** 1 kWh in nanojoules. */
const nanojoulesPerKilowattHour = 3.6e15

const activeKinds: ReadonlySet<AccountKind> = new Set([
  'phase',
  'other_tenants',
  'unattributed',
  'gap',
  'rework',
  'overhead',
])

function carbonOf(amount: EnergyAmount | undefined, gramsPerKilowattHour: number): CarbonAmount | undefined {
  if (amount === undefined) return undefined
  const grams = (nanojoules: bigint) => (Number(nanojoules) / nanojoulesPerKilowattHour) * gramsPerKilowattHour
  return {
    grams: grams(amount.nanojoules),
    lowGrams: grams(amount.lowNanojoules),
    highGrams: grams(amount.highNanojoules),
  }
}

function carbonSplit(energy: EnergySplit, gramsPerKilowattHour: number): CarbonSplit {
  return {
    measured: carbonOf(energy.measured, gramsPerKilowattHour),
    modelled: carbonOf(energy.modelled, gramsPerKilowattHour),
  }
}

/** Row a phase path belongs to. */
function keyOf(per: EnergyReport['per'], entry: LedgerEntry): string {
  if (per === 'account') return entry.kind
  const segments = entry.path.split('/')
  if (per === 'epoch') return segments.find((segment) => /^epoch:\d+$/.test(segment)) ?? segments[0] ?? ''
  if (per === 'phase') {
    const named = segments.filter((segment) => !/:\d+$/.test(segment))
    return named.length > 0 ? named.join('/') : entry.path
  }
  return entry.path
}

/** `epoch:2` before `epoch:10`, everything else in order of appearance. */
function compareKeys(left: string, right: string): number {
  const number = (key: string) => Number(/^epoch:(\d+)$/.exec(key)?.[1] ?? Number.NaN)
  const difference = number(left) - number(right)
  return Number.isNaN(difference) ? 0 : difference
}

/**
 * Make a report from totals. Everything in it can be computed again from the entries, the factor and the PUE it names.
 * @throws `ERR_ENERGY_PUE` for a PUE below 1, and what the carbon provider throws for an unknown zone
 */
export async function buildReport(totals: LedgerTotals, options: ReportOptions = {}): Promise<EnergyReport> {
  const { per = 'epoch', carbon = new StaticCarbonProvider(), pue = 1 } = options
  if (!(pue >= 1 && pue < 10)) {
    throw new SwiftError({
      code: 'ERR_ENERGY_PUE',
      asked: 'Making an energy report',
      found: `a power usage effectiveness of ${pue}`,
      remedy: 'Give the ratio of the building’s power to the computers’ power: at least 1, usually 1.1 to 1.6.',
    })
  }
  const zone = options.zone ?? process.env['SWIFT_CARBON_ZONE'] ?? 'WORLD'
  const factor = await carbon.doFactor(zone, new Date())
  const gramsPerKilowattHour = factor.gramsPerKilowattHour * pue
  const uncertaintyOf = uncertaintyLookup(totals.sources)

  const row = (key: string, entries: readonly LedgerEntry[]): EnergyReportRow => {
    const active = sumEntries(
      entries.filter((entry) => activeKinds.has(entry.kind)),
      uncertaintyOf,
    )
    const idle = sumEntries(
      entries.filter((entry) => entry.kind === 'idle'),
      uncertaintyOf,
    )
    const energy = addSplits(active, idle)
    return { key, active, idle, energy, carbon: carbonSplit(energy, gramsPerKilowattHour) }
  }

  const inPhases = totals.entries.filter(
    (entry) => entry.path !== '' && (entry.kind === 'phase' || entry.kind === 'idle'),
  )
  const groups = new Map<string, LedgerEntry[]>()
  for (const entry of per === 'account' ? totals.entries : inPhases) {
    const key = keyOf(per, entry)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [entry])
    else group.push(entry)
  }
  const keys = [...groups.keys()].sort(compareKeys)
  return {
    runId: totals.runId,
    per,
    rows: keys.map((key) => row(key, groups.get(key) ?? [])),
    phases: row('phases', inPhases),
    machine: row('machine', totals.entries),
    sources: totals.sources,
    gaps: totals.gaps,
    durationSeconds: Number(totals.durationNanoseconds) / 1e9,
    powerUsageEffectiveness: pue,
    factor,
  }
}
