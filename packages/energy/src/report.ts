import type {
  AccountKind,
  CarbonAmount,
  CarbonProvider,
  CarbonSplit,
  DerivedAmount,
  DerivedSplit,
  EmbodiedCarbon,
  EnergyAmount,
  EnergyClass,
  EnergyReport,
  EnergyReportRow,
  EnergySplit,
  LedgerEntry,
  LedgerTotals,
  LedgerVerification,
} from '@swift/spec'
import { SwiftError } from '@swift/spec'
import { addSplits, sumEntries } from './amounts.ts'
import { applyCalibration, calibratedUncertainty, type Calibration } from './calibration/calibration.ts'
import { configuredCarbonProvider } from './carbon/carbon-provider-of.ts'
import { carbonZone, reportCarbon } from './carbon/report-carbon.ts'
import type { LedgerSeries } from './read-series.ts'
import { uncertaintyLookup } from './read-state.ts'

/** What a report shows and what it derives carbon, price and water from. */
export interface ReportOptions {
  /**
   * Rows: `epoch` groups phases by their `epoch:N` segment (others by their first segment); `phase` by their path
   * without `name:N` segments; `path` is every path; `account` is every kind of account; `device` is every source.
   * Default `epoch`.
   */
  readonly per?: EnergyReport['per']
  /** Where grid factors come from. Default: env `SWIFT_CARBON_PROVIDER`, else the built-in yearly averages. */
  readonly carbon?: CarbonProvider
  /**
   * Where the provider fails, use the built-in yearly factor and say so in the report. Default false: its error is
   * thrown.
   */
  readonly carbonFallback?: boolean
  /** Grid zone. Default: env `SWIFT_CARBON_ZONE`, else `WORLD`. */
  readonly zone?: string
  /** One factor for everything, of this instant. Default: each stretch of the run has the factor of its time. */
  readonly when?: Date
  /**
   * Energy over time, from `Ledger.series`; the reports of a ledger read it themselves. Without it a provider whose
   * factors vary is asked once, for now, and the report says so.
   */
  readonly series?: LedgerSeries
  /** Check of the files the totals were read from, from `Ledger.verify`; the reports of a ledger on disk make it themselves. */
  readonly journal?: LedgerVerification
  /** Power usage effectiveness of the building, at least 1. Applies to carbon, price and water only. Default 1. */
  readonly pue?: number
  /** Price of electricity. Default: none. */
  readonly price?: EnergyPrice
  /** Litres of water per kWh (WUE). Default: none. */
  readonly waterLitresPerKilowattHour?: number
  /** Carbon of making the hardware. Default: none. */
  readonly embodied?: Omit<EmbodiedCarbon, 'grams'>
  /** Fit to a wall meter, applied to measured figures. Default: raw sensors. */
  readonly calibration?: Calibration
}

/** What a kWh costs. */
export interface EnergyPrice {
  readonly perKilowattHour: number
  /** ISO 4217 code or another name. */
  readonly currency: string
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

function perKilowattHour(amount: EnergyAmount | undefined, factor: number): DerivedAmount | undefined {
  if (amount === undefined) return undefined
  const convert = (nanojoules: bigint): number => (Number(nanojoules) / nanojoulesPerKilowattHour) * factor
  return {
    value: convert(amount.nanojoules),
    low: convert(amount.lowNanojoules),
    high: convert(amount.highNanojoules),
  }
}

function carbonOf(amount: EnergyAmount | undefined, gramsPerKilowattHour: number): CarbonAmount | undefined {
  const derived = perKilowattHour(amount, gramsPerKilowattHour)
  return derived && { grams: derived.value, lowGrams: derived.low, highGrams: derived.high }
}

function carbonSplit(energy: EnergySplit, gramsPerKilowattHour: (energyClass: EnergyClass) => number): CarbonSplit {
  const of = (energyClass: EnergyClass): CarbonAmount | undefined => {
    const amount = energy[energyClass]
    return amount && carbonOf(amount, gramsPerKilowattHour(energyClass))
  }
  return { measured: of('measured'), modelled: of('modelled') }
}

function derivedSplit(
  energy: EnergySplit,
  unit: string,
  factor: number | undefined,
  pue: number,
): DerivedSplit | undefined {
  if (factor === undefined) return undefined
  return {
    unit,
    perKilowattHour: factor,
    measured: perKilowattHour(energy.measured, factor * pue),
    modelled: perKilowattHour(energy.modelled, factor * pue),
  }
}

/** Row a phase path belongs to. */
function keyOf(per: EnergyReport['per'], entry: LedgerEntry): string {
  if (per === 'account') return entry.kind
  if (per === 'device') return entry.source
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

function checkFactors({ pue = 1, price, waterLitresPerKilowattHour: water = 0, embodied }: ReportOptions): void {
  const refuse = (code: `ERR_${string}`, found: string, remedy: string): never => {
    throw new SwiftError({ code, asked: 'Making an energy report', found, remedy })
  }
  if (!(pue >= 1 && pue < 10)) {
    refuse(
      'ERR_ENERGY_PUE',
      `a power usage effectiveness of ${pue}`,
      'Give the ratio of the building’s power to the computers’ power: at least 1, usually 1.1 to 1.6.',
    )
  }
  const isFine = (value: number): boolean => Number.isFinite(value) && value >= 0
  if (!isFine(price?.perKilowattHour ?? 0) || !isFine(water)) {
    refuse('ERR_ENERGY_FACTOR', 'a price or water factor below 0', 'Give what a kWh costs or needs: at least 0.')
  }
  if (embodied !== undefined) {
    const { totalGrams, lifetimeSeconds, share } = embodied
    if (!isFine(totalGrams) || !(lifetimeSeconds > 0) || !(share >= 0 && share <= 1)) {
      refuse(
        'ERR_ENERGY_FACTOR',
        `embodied carbon of ${totalGrams} g over ${lifetimeSeconds} s at a share of ${share}`,
        'Give grams of at least 0, a lifetime above 0 and a share from 0 to 1.',
      )
    }
  }
}

/**
 * Make a report from totals. Everything in it can be computed again from the entries, the factor and the PUE it names.
 * @throws `ERR_ENERGY_PUE`, `ERR_ENERGY_FACTOR`, and what the carbon provider throws, unless `carbonFallback` is on
 */
export async function buildReport(totals: LedgerTotals, options: ReportOptions = {}): Promise<EnergyReport> {
  const { per = 'epoch', carbon = configuredCarbonProvider(), pue = 1, price, calibration, embodied } = options
  checkFactors(options)
  const { factor, factors, note, intensityOf } = await reportCarbon(totals, {
    provider: carbon,
    zone: carbonZone(options.zone),
    when: options.when,
    series: options.series,
    fallback: options.carbonFallback ?? false,
  })
  const sensorUncertainty = uncertaintyLookup(totals.sources)
  const modelled = new Set(totals.sources.filter(({ provenance }) => provenance === 'modelled').map(({ id }) => id))
  const uncertaintyOf = (source: string): number =>
    calibration === undefined || modelled.has(source) ? sensorUncertainty(source) : calibratedUncertainty(calibration)
  const durationSeconds = Number(totals.durationNanoseconds) / 1e9

  const sum = (entries: readonly LedgerEntry[]): EnergySplit => {
    const split = sumEntries(entries, uncertaintyOf)
    return calibration === undefined ? split : applyCalibration(split, calibration)
  }
  const row = (key: string, entries: readonly LedgerEntry[]): EnergyReportRow => {
    const active = sum(entries.filter((entry) => activeKinds.has(entry.kind)))
    const idle = sum(entries.filter((entry) => entry.kind === 'idle'))
    const energy = addSplits(active, idle)
    const intensity = (energyClass: EnergyClass): number =>
      pue * intensityOf(entries.filter((entry) => entry.energyClass === energyClass))
    return { key, active, idle, energy, carbon: carbonSplit(energy, intensity) }
  }

  const inPhases = totals.entries.filter(
    (entry) => entry.path !== '' && (entry.kind === 'phase' || entry.kind === 'idle'),
  )
  const groups = new Map<string, LedgerEntry[]>()
  for (const entry of per === 'account' || per === 'device' ? totals.entries : inPhases) {
    const key = keyOf(per, entry)
    const group = groups.get(key)
    if (group === undefined) groups.set(key, [entry])
    else group.push(entry)
  }
  const keys = [...groups.keys()].sort(compareKeys)
  const machine = row('machine', totals.entries)
  return {
    runId: totals.runId,
    per,
    rows: keys.map((key) => row(key, groups.get(key) ?? [])),
    phases: row('phases', inPhases),
    machine,
    sources: totals.sources,
    gaps: totals.gaps,
    fits: totals.fits,
    mergeNotes: totals.mergeNotes,
    journal: options.journal,
    durationSeconds,
    powerUsageEffectiveness: pue,
    factor,
    factors,
    factorNote: note,
    cost: derivedSplit(machine.energy, price?.currency ?? '', price?.perKilowattHour, pue),
    water: derivedSplit(machine.energy, 'litres', options.waterLitresPerKilowattHour, pue),
    embodied: embodied && {
      ...embodied,
      grams: (embodied.totalGrams * embodied.share * durationSeconds) / embodied.lifetimeSeconds,
    },
    calibration: calibration && {
      id: calibration.id,
      gain: calibration.gain,
      offsetWatts: calibration.offsetWatts,
      relativeResidual: calibration.relativeResidual,
    },
  }
}
