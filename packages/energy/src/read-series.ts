import type { AccountKind, EnergyClass, EnergySourceDescriptor } from '@swift/spec'
import { parseAccount } from './read-state.ts'

/** What one account of one source gained. */
export interface LedgerGain {
  readonly source: string
  readonly energyClass: EnergyClass
  readonly kind: AccountKind
  /** Phase path; empty where the account has none. */
  readonly path: string
  /**
   * Negative where energy was taken back from the account and given to another: rework in
   * {@link LedgerSeriesPart.moved}, and a division between phases that was made better later.
   */
  readonly nanojoules: bigint
}

/** A stretch of time between two commits of one part. */
export interface LedgerSeriesPoint {
  /** Index into {@link LedgerSeries.parts}. */
  readonly part: number
  /** Wall clock at its beginning, in milliseconds since the epoch. */
  readonly startUnixMs: number
  readonly endUnixMs: number
  readonly gains: readonly LedgerGain[]
}

/** One segment of the journal: a stretch in which a program wrote without interruption. */
export interface LedgerSeriesPart {
  readonly segment: number
  readonly startedUnixMs: number
  /** Wall clock at its last commit. */
  readonly endedUnixMs: number
  /** Whether the ledger was closed in order; false while it is written, and after a crash. */
  readonly closed: boolean
  /**
   * How balances changed before this part began, without any time: phase energy that going back to a checkpoint turned
   * into rework, or what a checkpoint of another folder brought along.
   */
  readonly moved: readonly LedgerGain[]
}

/**
 * Energy over time. What all points gained and all parts moved adds up to the entries of the ledger's totals, to the
 * nanojoule.
 */
export interface LedgerSeries {
  readonly runId: string
  readonly parts: readonly LedgerSeriesPart[]
  /** In order of time; there may be gaps between parts. */
  readonly points: readonly LedgerSeriesPoint[]
}

/** What of a ledger {@link Ledger.series} reads. */
export interface SeriesOptions {
  /** Rank of the writer. Default 0. */
  readonly rank?: number
  /** Commits are merged until about this many stretches of equal length remain. Default 400. */
  readonly maximumPoints?: number
}

interface NativeGain {
  readonly source: number
  readonly account: number
  readonly nanojoules: string
}

interface NativeSeries {
  readonly runId: string
  readonly sources: readonly string[]
  readonly accounts: readonly string[]
  readonly parts: readonly (Omit<LedgerSeriesPart, 'moved'> & { readonly moved: readonly NativeGain[] })[]
  readonly points: readonly (Omit<LedgerSeriesPoint, 'gains'> & { readonly gains: readonly NativeGain[] })[]
}

/**
 * A series from the JSON text the native meter gives.
 * @param descriptors the ledger's sources, which say what is measured and what is modelled
 */
export function readSeries(json: string, descriptors: readonly EnergySourceDescriptor[]): LedgerSeries {
  const { runId, sources, accounts, parts, points } = JSON.parse(json) as NativeSeries
  const modelled = new Set(descriptors.filter(({ provenance }) => provenance === 'modelled').map(({ id }) => id))
  const parsed = accounts.map(parseAccount)
  const toGain = ({ source, account, nanojoules }: NativeGain): LedgerGain => {
    const id = sources[source] ?? ''
    const { kind, path } = parsed[account] ?? { kind: 'unattributed', path: '' }
    return {
      source: id,
      energyClass: modelled.has(id) ? 'modelled' : 'measured',
      kind,
      path,
      nanojoules: BigInt(nanojoules),
    }
  }
  return {
    runId,
    parts: parts.map((part) => ({ ...part, moved: part.moved.map(toGain) })),
    points: points.map((point) => ({ ...point, gains: point.gains.map(toGain) })),
  }
}
