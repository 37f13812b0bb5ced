import { summarise, type Summary } from './statistics.ts'

/** One measured quantity, ours beside a peer's and a limit. */
export interface Row {
  /** What was measured. */
  readonly name: string
  /** Unit of `ours`, `peer` and `limit`. */
  readonly unit: string
  /** Median of our rounds, or the best where `statistic` says so; null where only the peer has it. */
  readonly ours: number | null
  /** The same of the peer's rounds; null where it is absent. */
  readonly peer: number | null
  /** How much better ours is: above 1 we are ahead, whichever direction is better. Null without a peer. */
  readonly ratio: number | null
  /** What the machine allows by its measured roofline; null where no limit applies. */
  readonly limit: number | null
  /** Share of the limit that ours reaches, at most about 1. */
  readonly fractionOfLimit: number | null
  /** Which peer. */
  readonly peerName: string | null
  /** Whether less is better (bytes, seconds, joules). */
  readonly lowerIsBetter: boolean
  /** Median, least and greatest of our rounds. */
  readonly oursRounds: Summary | null
  /** The same of the peer's. */
  readonly peerRounds: Summary | null
  /** Which of the rounds `ours` and `peer` are. */
  readonly statistic: 'median' | 'best'
  /** Share of the machine's CPU time that other processes took meanwhile. */
  readonly othersShare: number | null
  /** Whether others took so much that the figure is not the machine's. */
  readonly disturbed: boolean
  /** What else a reader must know. */
  readonly note: string | null
}

/** What {@link makeRow} is given. */
export interface RowParts {
  readonly name: string
  readonly unit: string
  /** Our rounds. */
  readonly ours?: readonly number[] | undefined
  /** The peer's rounds. */
  readonly peer?: readonly number[] | undefined
  readonly peerName?: string | undefined
  readonly limit?: number | undefined
  readonly lowerIsBetter?: boolean
  /**
   * Default `median`. `best` for rounds of milliseconds beside a limit that is a best round itself: a virtual machine loses
   * half of a core for moments that no median of few rounds evens out.
   */
  readonly statistic?: 'median' | 'best'
  readonly othersShare?: number | undefined
  readonly note?: string | undefined
}

/** Share of the CPU above which another process disturbs a measurement. */
export const disturbedAbove = 0.1

function summary(values: readonly number[] | undefined): Summary | null {
  return values === undefined || values.length === 0 ? null : summarise(values)
}

/** A row from the rounds of both sides. */
export function makeRow(parts: RowParts): Row {
  const { name, unit, limit, lowerIsBetter = false, statistic = 'median', othersShare, peerName, note } = parts
  const oursRounds = summary(parts.ours)
  const peerRounds = summary(parts.peer)
  const figure = statistic === 'median' ? 'median' : lowerIsBetter ? 'min' : 'max'
  const ours = oursRounds?.[figure] ?? null
  const peer = peerRounds?.[figure] ?? null
  const better = (left: number, right: number): number => (lowerIsBetter ? right / left : left / right)
  return {
    name,
    unit,
    ours,
    peer,
    ratio: ours === null || peer === null ? null : better(ours, peer),
    limit: limit ?? null,
    fractionOfLimit: ours === null || limit === undefined ? null : better(ours, limit),
    peerName: peerRounds === null ? null : (peerName ?? null),
    lowerIsBetter,
    oursRounds,
    peerRounds,
    statistic,
    othersShare: othersShare ?? null,
    disturbed: othersShare !== undefined && othersShare > disturbedAbove,
    note: note ?? null,
  }
}
