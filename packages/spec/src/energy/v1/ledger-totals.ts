import type { EnergyClass, EnergySplit } from './energy-amount.ts'
import type { EnergySourceDescriptor } from './energy-source.ts'

/**
 * Kinds of account. Every nanojoule of every included source is credited to exactly one account.
 *
 * - `phase`: spent by this process while a phase was open.
 * - `idle`: what the machine draws with nothing running; kept per phase, so that both views can be formed.
 * - `other_tenants`: other processes of the machine.
 * - `unattributed`: this process, while no phase was open.
 * - `gap`: energy of a stretch in which the counter may have wrapped unseen.
 * - `rework`: work that was lost by going back to a checkpoint and had to be done again.
 * - `overhead`: the ledger's own sampling.
 */
export type AccountKind = 'phase' | 'idle' | 'other_tenants' | 'unattributed' | 'gap' | 'rework' | 'overhead'

/** Balance of one account for one source. */
export interface LedgerEntry {
  /** Id of the source. */
  readonly source: string
  /** Whether the source is measured or modelled. */
  readonly energyClass: EnergyClass
  /** Kind of the account. */
  readonly kind: AccountKind
  /** Phase path; empty where the account has none. */
  readonly path: string
  /** Balance. */
  readonly nanojoules: bigint
  /** How far below and above the value the truth can lie, for reasons other than the source's own error. */
  readonly belowNanojoules: bigint
  /** See `belowNanojoules`. */
  readonly aboveNanojoules: bigint
}

/** Time in which a source gave no usable reading. */
export interface LedgerGap {
  /** Id of the source. */
  readonly source: string
  /** Length of the gap. */
  readonly durationNanoseconds: bigint
  /** Why there was no usable reading. */
  readonly reason: string
}

/** A class of phases, as the division of a source sees it. */
export interface LedgerFitClass {
  /** Path with `*` for counters; empty for time outside any phase. */
  readonly class: string
  /** Seconds and joules in the window. */
  readonly seconds: number
  /** See `seconds`. */
  readonly joules: number
  /** Half of the 95 % interval of `joules`. */
  readonly halfWidthJoules: number
  /** Power once the ramp is over. */
  readonly steadyWatts: number
}

/** How the readings of a source are divided over the phases inside them: a regression over many steps. */
export interface LedgerFit {
  /** Id of the source. */
  readonly source: string
  /** Intervals between readings in the window. */
  readonly intervals: number
  /** Condition number: above 150 the smallest classes cannot be told apart any more. */
  readonly condition: number
  /** Standard deviation of an interval around its estimate, as a fraction. */
  readonly relativeNoise: number
  /** Classes whose sums are to be read together. */
  readonly merged: readonly (readonly string[])[]
  /** By class. */
  readonly classes: readonly LedgerFitClass[]
}

/** Something that merging ledgers found, such as a source that two ranks counted. */
export interface LedgerMergeNote {
  /** Stable code. */
  readonly code: string
  /** What was found and done. */
  readonly message: string
}

/** Everything the ledger holds up to its last commit. */
export interface LedgerTotals {
  /** The run. */
  readonly runId: string
  /** Segment number and sequence number of the commit these totals belong to. */
  readonly segment: number
  /** See `segment`. */
  readonly sequence: number
  /** Hash of the commit, over everything before it. */
  readonly chainHash: string
  /** Metered time of this run, all resumed parts together, gaps excluded. */
  readonly durationNanoseconds: bigint
  /** What is measured, modelled and unavailable. */
  readonly sources: readonly EnergySourceDescriptor[]
  /** Balances by source and account. */
  readonly entries: readonly LedgerEntry[]
  /** Stretches without usable readings. */
  readonly gaps: readonly LedgerGap[]
  /** How readings are divided over phases; none where no reading holds several phases. */
  readonly fits: readonly LedgerFit[]
  /** What merging several ledgers found; none for one ledger. */
  readonly mergeNotes: readonly LedgerMergeNote[]
  /** Sum over included sources. */
  readonly energy: EnergySplit
}

/** What a checkpoint embeds so that a resumed run continues the same account. JSON-able; integers are decimal strings. */
export interface LedgerSnapshot {
  /** Version of this format. */
  readonly format: 'swift-ledger-snapshot/1'
  /** The run. */
  readonly runId: string
  /** Segment number of the commit. */
  readonly segment: number
  /** Sequence number of the commit. */
  readonly sequence: number
  /** Hash of the commit; a journal that lacks it is another run. */
  readonly chainHash: string
  /** Balances at the commit. */
  readonly entries: readonly LedgerSnapshotEntry[]
}

/** One balance inside a {@link LedgerSnapshot}. */
export interface LedgerSnapshotEntry {
  /** Id of the source. */
  readonly source: string
  /** Name of the account, such as `phase/train/epoch:0`. */
  readonly account: string
  /** Balance, decimal. */
  readonly nanojoules: string
}

/** Energy of one phase handle, children included. */
export interface SettledEnergy {
  /** Path of the phase; empty for the whole ledger. */
  readonly path: string
  /** Time between the marks, in nanoseconds. */
  readonly durationNanoseconds: bigint
  /** Spent by this process while the phase was open. */
  readonly active: EnergySplit
  /** What the machine drew as idle power during that time. */
  readonly idle: EnergySplit
  /** True when the time was shared with a phase on another stream, so that the division is an estimate. */
  readonly estimated: boolean
}
