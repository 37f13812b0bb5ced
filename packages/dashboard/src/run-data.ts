import type { AccountKind, CarbonFactor, EnergyClass, EnergySourceDescriptor, LedgerVerification } from '@swift/spec'

/** A number with the interval that holds the truth. */
export interface Quantity {
  readonly value: number
  readonly low: number
  readonly high: number
}

/** Measured and modelled side by side; a class that is absent is unavailable, not zero. */
export interface QuantitySplit {
  readonly measured?: Quantity
  readonly modelled?: Quantity
}

/** Something that is missing, damaged or worth knowing about a run; the page shows it and goes on. */
export interface RunProblem {
  /** `error`: a part cannot be shown. `note`: a part is shown, and this belongs to it. */
  readonly severity: 'error' | 'note'
  /** Stable code. */
  readonly code: string
  /** What was found. */
  readonly found: string
  /** What to do. */
  readonly remedy: string
}

/**
 * `running`: written to a few seconds ago. `finished`: ended in order. `stopped`: ended without having been closed, such
 * as by kill −9. `empty`: nothing in the folder yet.
 */
export type RunState = 'running' | 'finished' | 'stopped' | 'empty'

/** One line of `logging.jsonl`. Joules are those of all phases so far. */
export interface LogPoint {
  readonly step: number
  readonly epoch?: number
  /** Absent where it was not a number. */
  readonly loss?: number
  readonly tokens?: number
  readonly tokensPerSecond?: number
  readonly learningRate?: number
  readonly measuredJoules?: number
  readonly modelledJoules?: number
}

/** One evaluation. */
export interface EvaluationPoint {
  readonly step: number
  readonly loss?: number
  readonly isBest: boolean
}

/** Balance of one account, over all its sources. */
export interface AccountEntry {
  readonly kind: AccountKind
  /** Phase path; empty where the account has none. */
  readonly path: string
  /** Joules. */
  readonly energy: QuantitySplit
}

/** One band of the energy over time: what one kind of work took in each stretch. */
export interface SeriesBand {
  /** Phase path without counters, such as `train/forward`; the kind of account where it is not a phase. */
  readonly key: string
  readonly kind: AccountKind
  /** `idle`: the machine's idle power while that phase was open. */
  readonly share: 'active' | 'idle'
  readonly energyClass: EnergyClass
  /** Joules per stretch. */
  readonly joules: readonly number[]
}

/** Energy over time. All arrays are as long as there are stretches. */
export interface EnergySeries {
  /** Seconds since the first commit's beginning. */
  readonly startSeconds: readonly number[]
  readonly endSeconds: readonly number[]
  /** Index of the uninterrupted part that a stretch belongs to. */
  readonly parts: readonly number[]
  readonly bands: readonly SeriesBand[]
  /** Joules that going back to a checkpoint turned into rework; they are drawn where they were spent. */
  readonly reworkedJoules: number
}

/** A stretch without a usable reading. */
export interface EnergyGap {
  readonly source: string
  readonly seconds: number
  readonly reason: string
}

/** What the ledger of a run holds. */
export interface RunEnergy {
  readonly runId: string
  readonly durationSeconds: number
  /** All phases with their idle share, in joules. */
  readonly phases: QuantitySplit
  /** The whole machine, in joules. */
  readonly machine: QuantitySplit
  /** Carbon of the phases, in grams CO2e. */
  readonly carbon: QuantitySplit
  /** The grid factor, or the mean of several weighted by energy. */
  readonly factor: CarbonFactor
  /** How many factors there were over time. */
  readonly factors: number
  readonly powerUsageEffectiveness: number
  readonly accounts: readonly AccountEntry[]
  readonly series?: EnergySeries
  readonly sources: readonly Omit<EnergySourceDescriptor, 'modulusNanojoules'>[]
  readonly gaps: readonly EnergyGap[]
  readonly verification?: LedgerVerification
}

/** A limit that a run was given. */
export interface RunBudget {
  /** As it was written, such as `500 J` or `2 gCO2e`. */
  readonly label: string
  /** The same in joules, for the line in the chart; absent where it does not translate. */
  readonly joules?: number
  readonly isHard: boolean
}

/** What was forecast before step 1. */
export interface RunForecast {
  readonly measuredJoules?: number
  readonly modelledJoules?: number
  readonly seconds?: number
}

/** One named fact about a run. */
export interface RunFact {
  readonly name: string
  readonly value: string
}

/** Everything the page shows of one run. JSON. */
export interface RunData {
  /** Short and unique on this page; never a path. */
  readonly id: string
  readonly name: string
  /** The folder as it was given. */
  readonly folder: string
  readonly state: RunState
  /** Why it ended, when the trainer said so: `finished`, `early-stop`, `aborted`. */
  readonly reason?: string
  readonly startedUnixMs?: number
  readonly updatedUnixMs?: number
  readonly step?: number
  readonly totalSteps?: number
  /** Tokens read in all steps. */
  readonly tokens?: number
  /** Time of the steps. */
  readonly trainingSeconds?: number
  readonly log: readonly LogPoint[]
  readonly evaluations: readonly EvaluationPoint[]
  readonly energy?: RunEnergy
  readonly budgets: readonly RunBudget[]
  readonly forecast?: RunForecast
  /** Model and settings. */
  readonly settings: readonly RunFact[]
  /** What it ran on. */
  readonly machine: readonly RunFact[]
  readonly problems: readonly RunProblem[]
}

/** What the page is given. */
export interface DashboardData {
  /** `live`: served, and updated while it is open. `file`: an export. */
  readonly mode: 'live' | 'file'
  readonly madeUnixMs: number
  readonly runs: readonly RunData[]
  /** What concerns no single run. */
  readonly problems: readonly RunProblem[]
}
