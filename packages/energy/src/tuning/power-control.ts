/** One thing that can be set and put back: a power limit or a clock range. */
export interface PowerSetting {
  /** Stable within a machine, such as `powercap:intel-rapl:0` or `nvidia:GPU-…:limit`. */
  readonly id: string
  /** What is set, with its unit, such as `package power limit, microwatts`. */
  readonly label: string
  /** Present value, in the unit of the label. */
  readonly value: string
  /** Smallest and largest value the device takes; `undefined` where it does not say. */
  readonly minimum: string | undefined
  readonly maximum: string | undefined
  /** Whether this process may change it. */
  readonly isWritable: boolean
  /** What would make it writable; `undefined` where it is. */
  readonly reason: string | undefined
}

/** A way to set power on a machine. */
export interface PowerControl {
  readonly id: string
  /** Settings this control sees now; none where the hardware is absent. */
  doList(): Promise<readonly PowerSetting[]>
  /** Sets one. @throws when the device refuses */
  doSet(setting: string, value: string): Promise<void>
  /** The same, done when it returns, for the exit of the process. Without it the next start puts back. @throws as `doSet` */
  doSetNow?(setting: string, value: string): void
}
