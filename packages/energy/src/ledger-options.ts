import type { LedgerEvent, LedgerSnapshot } from '@swift/spec'
import { type SourceOptions, toNativeSourceOptions } from './source-options.ts'

/** How a ledger is opened. */
export interface LedgerOptions extends SourceOptions {
  /** Name of a new run. Default: a random UUID. A resumed run keeps its own. */
  readonly runId?: string
  /**
   * `auto` continues the run in the folder or begins one; `never` refuses a folder that holds one; a snapshot goes
   * back to the checkpoint that holds it, and phase energy after it is booked to `rework`. Default `auto`.
   */
  readonly resume?: 'auto' | 'never' | LedgerSnapshot
  /** Rank of this process. Default 0. */
  readonly rank?: number
  /** Mean time between samples, 10 to 10,000 ms. Default 100. */
  readonly samplePeriodMs?: number
  /** Time between commits, 10 to 1,000 ms: at most this much is lost to kill -9. Default 1000. */
  readonly commitMs?: number
  readonly idle?: {
    /** How long `open` waits to measure idle power, where a source is measured. 0 for no baseline. Default 1. */
    readonly seconds?: number
  }
  /** Count all active energy as this process's, whatever other processes do. Default false. */
  readonly exclusive?: boolean
  /** Count the processes that this one starts, and theirs, as this process. Linux; default false. */
  readonly followChildren?: boolean
  /** How far this host's wall clock is ahead of the run's reference, in milliseconds; merging ranks uses it. */
  readonly clockOffsetMs?: number
  /** A segment of the journal beyond this many bytes is followed by another; at least 4,096. Default: 64 MiB. */
  readonly segmentBytes?: number
  /** Follow each commit by fdatasync. Default true. */
  readonly sync?: boolean
  /** Called with each event of the ledger; also see {@link Ledger.onEvent}. */
  readonly onEvent?: (event: LedgerEvent) => void
}

/** The options as the native meter reads them. */
export function toNativeOptions(directory: string, options: LedgerOptions): string {
  const { resume = 'auto' } = options
  return JSON.stringify({
    directory,
    runId: options.runId ?? crypto.randomUUID(),
    resume:
      resume === 'auto'
        ? { from: 'auto' }
        : resume === 'never'
          ? { from: 'never' }
          : { from: 'checkpoint', snapshot: resume },
    rank: options.rank ?? 0,
    samplePeriodMs: options.samplePeriodMs ?? 100,
    commitMs: options.commitMs ?? 1000,
    idleSeconds: options.idle?.seconds ?? 1,
    exclusive: options.exclusive ?? false,
    followChildren: options.followChildren ?? false,
    ...toNativeSourceOptions(options),
    sync: options.sync ?? true,
    // Left out, the native defaults hold.
    clockOffsetMs: options.clockOffsetMs,
    segmentBytes: options.segmentBytes,
  })
}
