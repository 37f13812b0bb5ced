import { setTimeout as sleep } from 'node:timers/promises'
import type { CarbonProvider } from '@swift/spec'

/** When a run pauses. */
export interface CarbonGateOptions {
  readonly provider: CarbonProvider
  readonly zone: string
  /** Pause above this, in grams per kWh. */
  readonly pauseAbove: number
  /** Go on below this. Default: nine tenths of `pauseAbove`, so that a value at the border does not make it flutter. */
  readonly resumeBelow?: number
  /** The longest pause in all; after it the run goes on whatever the grid does. Default: 12 hours. */
  readonly longestPauseMs?: number
  /** Time between two questions to the provider. Default: 5 minutes. */
  readonly checkMs?: number
  /** Hears of pauses, of their end, and of a provider that does not answer. */
  readonly onEvent?: (event: { readonly code: string; readonly message: string }) => void
}

/**
 * Holds a run between two of its steps while the grid is dirty. A provider that fails never stops a run: it is told,
 * and the run goes on.
 */
export class CarbonGate {
  readonly #options: Required<CarbonGateOptions>
  #nextCheck = 0
  #pausedMs = 0

  constructor(options: CarbonGateOptions) {
    this.#options = {
      resumeBelow: options.pauseAbove * 0.9,
      longestPauseMs: 12 * 3_600_000,
      checkMs: 300_000,
      onEvent: () => undefined,
      ...options,
    }
  }

  /** Time spent in pauses so far. */
  get pausedMs(): number {
    return this.#pausedMs
  }

  /**
   * Call between steps; returns at once while the grid is clean enough, or a moment after it is again.
   * @param signal ends a pause
   * @param beforePause called once when a pause begins, such as to write a checkpoint
   */
  async pass(signal?: AbortSignal, beforePause?: () => Promise<unknown>): Promise<void> {
    const { pauseAbove, resumeBelow, longestPauseMs, checkMs, zone, onEvent } = this.#options
    if (performance.now() < this.#nextCheck) return
    this.#nextCheck = performance.now() + checkMs
    let grams = await this.#intensity()
    if (grams === undefined || grams <= pauseAbove) return
    onEvent({
      code: 'NOTE_CARBON_PAUSE',
      message: `Paused: ${grams.toFixed(0)} g/kWh in ${zone}, above ${pauseAbove}; goes on below ${resumeBelow.toFixed(0)}`,
    })
    await beforePause?.()
    const isAborted = (): boolean => signal?.aborted === true
    while (grams !== undefined && grams > resumeBelow && this.#pausedMs < longestPauseMs && !isAborted()) {
      const started = performance.now()
      const wait = Math.min(checkMs, longestPauseMs - this.#pausedMs)
      await sleep(wait, undefined, signal === undefined ? {} : { signal }).catch(() => undefined)
      this.#pausedMs += performance.now() - started
      grams = await this.#intensity()
    }
    this.#nextCheck = performance.now() + checkMs
    const why = isAborted()
      ? 'the run is to stop'
      : grams === undefined
        ? 'the provider does not answer'
        : grams > resumeBelow
          ? `the longest pause of ${longestPauseMs / 1000} s is over`
          : `${grams.toFixed(0)} g/kWh`
    onEvent({
      code: 'NOTE_CARBON_RESUME',
      message: `Goes on after ${(this.#pausedMs / 1000).toFixed(0)} s in pauses: ${why}`,
    })
  }

  async #intensity(): Promise<number | undefined> {
    const { provider, zone, onEvent } = this.#options
    try {
      return (await provider.doFactor(zone, new Date())).gramsPerKilowattHour
    } catch (error) {
      onEvent({
        code: 'WARN_CARBON_UNKNOWN',
        message: `The carbon intensity of ${zone} is unknown, so the run goes on: ${error instanceof Error ? error.message : String(error)}`,
      })
      return undefined
    }
  }
}
