/** An open ledger in the native meter. Structures are JSON text whose integers are decimal strings. */
export declare class EnergyMeter {
  private constructor()
  /** @param options JSON of the meter's options */
  static open(options: string): EnergyMeter
  runId(): string
  isReady(): boolean
  intern(path: string): number
  declare(path: number, track: number): number
  trySettle(token: number): string | null
  isSettled(monotonicNanoseconds: string): boolean
  state(): string
  watts(): [number | null | undefined, number | null | undefined]
  requestSnapshot(): number
  takeSnapshot(ticket: number): string | null
  takeEvents(): string
  close(): void
}
/** Mark one end of a phase now. */
export declare function meterMark(token: number, begin: boolean): void
/** Nanoseconds of the meter's clock, decimal. */
export declare function meterNow(): string
/** Sources of this machine, JSON. */
export declare function meterSources(powercapRoot?: string | null): string
/** State of the ledger in a folder, JSON. */
export declare function meterRead(folder: string, rank: number): string
/** Check of the ledger in a folder, JSON. */
export declare function meterVerify(folder: string): string
