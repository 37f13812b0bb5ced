/** An open ledger in the native meter. Structures are JSON text whose integers are decimal strings. */
export interface EnergyMeter {
  runId(): string
  /** Whether the idle baseline is done. */
  isReady(): boolean
  /** Id of a phase path. */
  intern(path: string): number
  /** A new phase instance on a stream; returns its token. */
  declare(path: number, track: number): number
  /** Energy of an ended instance; null until it is known. */
  trySettle(token: number): string | null
  /** Whether every source has been read since this time of the meter's clock. */
  isSettled(monotonicNanoseconds: string): boolean
  /** Everything up to the last sample. */
  state(): string
  /** Measured and modelled watts over the last interval. */
  watts(): [number | null | undefined, number | null | undefined]
  /** Ask for a durable commit; returns a ticket. */
  requestSnapshot(): number
  /** The snapshot of a ticket; null until its commit is durable. */
  takeSnapshot(ticket: number): string | null
  /** Events since the last call. */
  takeEvents(): string
  /** Ask for the end of sampling; `close` then has little to wait for once `hasStopped`. */
  beginClose(): void
  /** Whether sampling has ended. */
  hasStopped(): boolean
  /** Last sample, last commit, end of the threads. */
  close(): void
}
/** Open a ledger. Rejects with `code`, also when the native binary is missing (`ERR_NATIVE_MISSING`). */
export declare function openMeter(options: string): Promise<EnergyMeter>
/** Mark one end of a phase now. */
export declare function meterMark(token: number, begin: boolean): void
/** Nanoseconds of the meter's clock, decimal. */
export declare function meterNow(): string
/** Sources of this machine; options as those of a ledger. Waits for a management controller in the network, if one is named. */
export declare function meterSources(options?: string | null): string
/** The same without blocking. */
export declare function meterFindSources(options?: string | null): Promise<string>
/** State of the ledger in a folder. */
export declare function meterRead(folder: string, rank: number): string
/** What each account of the ledger in a folder gained over time, in at most about `limit` stretches. */
export declare function meterGains(folder: string, rank: number, limit: number): string
/** Check of the ledger in a folder. */
export declare function meterVerify(folder: string): string
/**
 * Ledgers of several ranks, hosts and parts as one: a state as of `meterRead`, with `ranks`, `phaseAligned` and `notes`.
 * A set union: neither order nor copies matter. Throws `ERR_LEDGER_MERGE_CONFLICT` where two copies differ.
 */
export declare function meterMerge(folders: readonly string[]): string
/**
 * Compare a ledger with a meter's CSV file of (time in seconds or milliseconds since 1970, watts): `{ gain, offsetWatts,
 * residualWatts, residualPermille, pairs, lowWatts, highWatts }`. Throws `ERR_ENERGY_CALIBRATION`.
 */
export declare function meterCalibrate(folder: string, csv: string, rank: number): string
