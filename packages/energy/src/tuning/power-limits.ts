import { SwiftError } from '@swift/spec'
import type { PowerLimit } from './parse-power-limits.ts'
import { PowerTuning, type PowerTuningOptions, type RestoredSetting } from './power-tuning.ts'

/** A change of power, for a listener or the notes of a ledger. */
export interface PowerNote {
  /** `NOTE_POWER_LIMIT` set, `NOTE_POWER_RESTORED` put back, `WARN_POWER_LIMIT` refused, `WARN_POWER_RESTORED` not put back. */
  readonly code: string
  readonly message: string
}

/** The power limits of one run: those of its start, and the soft ones that a soft energy budget brings. */
export class PowerLimits implements AsyncDisposable {
  readonly #tuning: PowerTuning
  readonly #soft: readonly PowerLimit[]
  #lowering: Promise<readonly PowerNote[]> | undefined
  #isClosed = false
  /** What was set at the start. */
  readonly notes: readonly PowerNote[]

  private constructor(tuning: PowerTuning, soft: readonly PowerLimit[], notes: readonly PowerNote[]) {
    this.#tuning = tuning
    this.#soft = soft
    this.notes = notes
  }

  /**
   * Sets the limits that hold from the start.
   * @throws `ERR_POWER_SETTING`; then nothing stays changed
   */
  static async open(limits: readonly PowerLimit[], options: PowerTuningOptions = {}): Promise<PowerLimits> {
    const tuning = await PowerTuning.open(options)
    const now = limits.filter(({ isSoft }) => !isSoft)
    try {
      for (const { setting, value } of now) await tuning.set(setting, value)
    } catch (error) {
      await tuning.close()
      throw error
    }
    const notes = now.map(({ setting, value }) => ({
      code: 'NOTE_POWER_LIMIT',
      message: `${setting} is ${value} for this run`,
    }))
    const restored = tuning.restored.map((setting) => restoredNote(setting, ', which an earlier process left changed,'))
    return new PowerLimits(
      tuning,
      limits.filter(({ isSoft }) => isSoft),
      [...restored, ...notes],
    )
  }

  /** Sets the soft limits, once. One that is refused is told and changes nothing: energy never stops a run. */
  async lower(): Promise<readonly PowerNote[]> {
    if (this.#lowering !== undefined || this.#isClosed) return []
    this.#lowering = this.#lower()
    return this.#lowering
  }

  async #lower(): Promise<readonly PowerNote[]> {
    const notes: PowerNote[] = []
    for (const { setting, value } of this.#soft) {
      try {
        await this.#tuning.set(setting, value)
        notes.push({
          code: 'NOTE_POWER_LIMIT',
          message: `${setting} is ${value} from now on: a soft budget is reached`,
        })
      } catch (error) {
        if (!SwiftError.isInstance(error)) throw error
        const message = `${setting} stays as it is though a soft budget is reached: ${error.code} ${error.found}`
        notes.push({ code: 'WARN_POWER_LIMIT', message })
      }
    }
    return notes
  }

  /** Puts everything back. */
  async close(): Promise<readonly PowerNote[]> {
    this.#isClosed = true
    // What is being set must be known before it is put back.
    await this.#lowering?.catch(() => undefined)
    return (await this.#tuning.close()).map((setting) => restoredNote(setting, ''))
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

function restoredNote({ setting, value, error }: RestoredSetting, who: string): PowerNote {
  return error === undefined
    ? {
        code: who === '' ? 'NOTE_POWER_RESTORED' : 'WARN_POWER_RESTORED',
        message: `${setting}${who} is ${value} again`,
      }
    : { code: 'WARN_POWER_RESTORED', message: `${setting}${who} cannot be put back to ${value}: ${error}` }
}
