import { parsePowerLimits, PowerLimits, type PowerNote, PowerTuning } from '@swift/energy'
import type { LedgerEvent } from '@swift/spec'

/** Puts back what a killed process left changed, and tells it. */
export async function restorePower(onEvent: ((event: LedgerEvent) => void) | undefined): Promise<void> {
  for (const { setting, value, error } of await PowerTuning.restore()) {
    const found = error === undefined ? `was put back to ${value}` : `cannot be put back to ${value}: ${error}`
    onEvent?.({
      code: 'WARN_POWER_RESTORED',
      severity: error === undefined ? 'warning' : 'error',
      message: `The power setting ${setting}, which an earlier process left changed, ${found}`,
      unixMs: Date.now(),
    })
  }
}

/** The power limits of a run: set before its data are read, put back when it ends in whatever way. */
export class RunPower implements AsyncDisposable {
  readonly #limits: PowerLimits | undefined
  readonly #tell: (note: PowerNote) => void
  readonly #lowering: Promise<void>[] = []

  private constructor(limits: PowerLimits | undefined, tell: (note: PowerNote) => void) {
    this.#limits = limits
    this.#tell = tell
  }

  /**
   * @param text the option `powerLimit`; without it nothing is done here
   * @param tell hears of every change
   * @throws `ERR_POWER_SETTING`; then nothing stays changed
   */
  static async open(text: string | undefined, tell: (note: PowerNote) => void): Promise<RunPower> {
    if (text === undefined) return new RunPower(undefined, tell)
    const limits = await PowerLimits.open(parsePowerLimits(text))
    for (const note of limits.notes) tell(note)
    return new RunPower(limits, tell)
  }

  /** Sets the soft limits. */
  lower(): void {
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    this.#limits?.lower().then((notes) => {
      for (const note of notes) this.#tell(note)
      resolve()
    }, reject)
    if (this.#limits !== undefined) this.#lowering.push(promise)
  }

  /** Puts everything back and tells it. A second call does nothing. */
  async close(): Promise<void> {
    try {
      await Promise.all(this.#lowering.splice(0))
    } finally {
      for (const note of (await this.#limits?.close()) ?? []) this.#tell(note)
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
