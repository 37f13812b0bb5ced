import type { EnergySplit } from './energy-amount.ts'
import type { EnergySourceDescriptor } from './energy-source.ts'
import type { CarbonFactor } from './carbon-provider.ts'
import type { LedgerGap } from './ledger-totals.ts'

/** Carbon of an amount of energy, in grams CO2e, with its interval. The factor's own error is not in it. */
export interface CarbonAmount {
  readonly grams: number
  readonly lowGrams: number
  readonly highGrams: number
}

/** Carbon by class; `undefined` is unavailable. */
export interface CarbonSplit {
  readonly measured: CarbonAmount | undefined
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
  readonly runId: string
  readonly per: 'epoch' | 'phase' | 'account' | 'path'
  readonly rows: readonly EnergyReportRow[]
  /** All phases together, with their idle share. */
  readonly phases: EnergyReportRow
  /** The whole machine: phases, idle, other tenants, gaps and overhead. */
  readonly machine: EnergyReportRow
  readonly sources: readonly EnergySourceDescriptor[]
  readonly gaps: readonly LedgerGap[]
  readonly durationSeconds: number
  readonly powerUsageEffectiveness: number
  readonly factor: CarbonFactor
}
