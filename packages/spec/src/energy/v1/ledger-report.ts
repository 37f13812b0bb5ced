import type { EnergySplit } from './energy-amount.ts'
import type { EnergySourceDescriptor } from './energy-source.ts'
import type { CarbonFactor } from './carbon-provider.ts'
import type { LedgerVerification } from './ledger-event.ts'
import type { LedgerFit, LedgerGap, LedgerMergeNote } from './ledger-totals.ts'

/** Carbon of an amount of energy, in grams CO2e, with its interval. The factor's own error is not in it. */
export interface CarbonAmount {
  /** Best estimate. */
  readonly grams: number
  /** Lower end of the interval. */
  readonly lowGrams: number
  /** Upper end of the interval. */
  readonly highGrams: number
}

/** Carbon by class; `undefined` is unavailable. */
export interface CarbonSplit {
  /** Of measured energy. */
  readonly measured: CarbonAmount | undefined
  /** Of modelled energy. */
  readonly modelled: CarbonAmount | undefined
}

/** Something derived from an amount of energy, with its interval. */
export interface DerivedAmount {
  /** Most likely value. */
  readonly value: number
  /** Lowest value. */
  readonly low: number
  /** Highest value. */
  readonly high: number
}

/** A derived figure by class, never stored; `undefined` is unavailable. */
export interface DerivedSplit {
  /** `EUR`, `litres`, … */
  readonly unit: string
  /** Price, litres or other factor per kWh it was made with. */
  readonly perKilowattHour: number
  /** Of measured energy. */
  readonly measured: DerivedAmount | undefined
  /** Of modelled energy. */
  readonly modelled: DerivedAmount | undefined
}

/** Carbon of making the hardware, spread over its life (SCI: `M = TE · TiR / EL · RR / ToR`). */
export interface EmbodiedCarbon {
  /** Grams of the run: its share of {@link totalGrams}. */
  readonly grams: number
  /** Grams of making everything that was used. */
  readonly totalGrams: number
  /** Seconds the hardware is used for, in all its life. */
  readonly lifetimeSeconds: number
  /** Share of the hardware the run had, 0 to 1. */
  readonly share: number
  /** Where {@link totalGrams} comes from. */
  readonly source: string
}

/** Fit of this machine's sensors to a wall meter, as a report applied it. */
export interface AppliedCalibration {
  /** Hash of the fit and its data. */
  readonly id: string
  /** Joules at the wall for each measured joule. */
  readonly gain: number
  /** Watts at the wall that no sensor sees. */
  readonly offsetWatts: number
  /** Root mean square error of the fit as a fraction of the mean. */
  readonly relativeResidual: number
}

/** One line of a report. */
export interface EnergyReportRow {
  /** Phase path, epoch (`epoch:3`) or account name. */
  readonly key: string
  /** This process's own energy. */
  readonly active: EnergySplit
  /** Idle power of the machine during the row's time. */
  readonly idle: EnergySplit
  /** `active` and `idle` together: what the machine used for this row. */
  readonly energy: EnergySplit
  /** Derived from `energy` times PUE; the stored joules know neither factor nor PUE. */
  readonly carbon: CarbonSplit
}

/** A report over a ledger, live or read from disk. Everything in it is derived from entries and the factors named in it. */
export interface EnergyReport {
  /** The run. */
  readonly runId: string
  /** What a row stands for. */
  readonly per: 'epoch' | 'phase' | 'account' | 'path' | 'device'
  /** The rows, in order of first use. */
  readonly rows: readonly EnergyReportRow[]
  /** All phases together, with their idle share. */
  readonly phases: EnergyReportRow
  /** The whole machine: phases, idle, other tenants, gaps and overhead. */
  readonly machine: EnergyReportRow
  /** What was measured, modelled and unavailable. */
  readonly sources: readonly EnergySourceDescriptor[]
  /** Stretches without usable readings. */
  readonly gaps: readonly LedgerGap[]
  /** How readings are divided over phases: condition numbers, and classes that cannot be told apart. */
  readonly fits: readonly LedgerFit[]
  /** What merging several ledgers found. */
  readonly mergeNotes: readonly LedgerMergeNote[]
  /**
   * Check of the files that the report was read from: where it is not ok, or has torn bytes, the figures end at the last
   * commit that holds. `undefined` for a ledger that is open.
   */
  readonly journal: LedgerVerification | undefined
  /** Metered seconds, gaps excluded. */
  readonly durationSeconds: number
  /** Power usage effectiveness that carbon was derived with; 1 is the machine alone. */
  readonly powerUsageEffectiveness: number
  /** Grid factor that carbon was derived with; where it varied, the mean weighted by energy. */
  readonly factor: CarbonFactor
  /** Every grid factor that was used, in order of time: each stretch of the run has the one of its time. */
  readonly factors: readonly CarbonFactor[]
  /** What to know about how the factor was chosen, such as what it stands in for; `undefined`: it is what was asked for. */
  readonly factorNote: string | undefined
  /** Price of the machine's energy with PUE; `undefined` without a price. */
  readonly cost: DerivedSplit | undefined
  /** Water for the machine's energy; `undefined` without a factor. */
  readonly water: DerivedSplit | undefined
  /** `undefined` where nothing was said about the hardware. */
  readonly embodied: EmbodiedCarbon | undefined
  /** The calibration that measured figures were multiplied with; `undefined` for raw sensors. */
  readonly calibration: AppliedCalibration | undefined
}
