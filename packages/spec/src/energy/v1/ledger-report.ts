import type { EnergySplit } from './energy-amount.ts'
import type { EnergySourceDescriptor } from './energy-source.ts'
import type { CarbonFactor } from './carbon-provider.ts'
import type { LedgerGap } from './ledger-totals.ts'

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
  readonly per: 'epoch' | 'phase' | 'account' | 'path'
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
  /** Metered seconds, gaps excluded. */
  readonly durationSeconds: number
  /** Power usage effectiveness that carbon was derived with; 1 is the machine alone. */
  readonly powerUsageEffectiveness: number
  /** Grid factor that carbon was derived with. */
  readonly factor: CarbonFactor
}
