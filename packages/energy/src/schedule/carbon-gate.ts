import { type CarbonProvider, SwiftError } from '@swift/spec'
import { type Ahead, lookAhead } from './look-ahead.ts'
import { type ScheduleClock, systemClock } from './schedule-clock.ts'

/** What a {@link CarbonGate} tells. Grams are per kWh, instants milliseconds since the epoch. */
export interface CarbonGateEvent {
  /**
   * `NOTE_CARBON_PAUSE`, `NOTE_CARBON_RESUME`, `NOTE_CARBON_NO_CLEANER` (waiting would save nothing), `WARN_CARBON_DEADLINE` (no
   * time to wait), `WARN_CARBON_UNKNOWN` (the provider fails).
   */
  readonly code: string
  /** A sentence. */
  readonly message: string
  /** Intensity now; `undefined` where nobody knows. */
  readonly gramsPerKilowattHour: number | undefined
  /** Forecast of the hours that are waited for; `undefined` without a forecast. */
  readonly forecastGramsPerKilowattHour: number | undefined
  /** When they are forecast to begin; `undefined` without a forecast. */
  readonly untilUnixMs: number | undefined
  /** When work goes on whatever the grid does. */
  readonly latestUnixMs: number | undefined
}

/** When a run pauses. */
export interface CarbonGateOptions {
  readonly provider: CarbonProvider
  readonly zone: string
  /** Pause above this, in grams per kWh. */
  readonly pauseAbove: number
  /** Go on at or below this. Default: nine tenths of `pauseAbove`, so that a value at the border does not make it flutter. */
  readonly resumeBelow?: number
  /** The longest pause in all; after it the run goes on whatever the grid does. Default: 12 hours. */
  readonly longestPauseMs?: number
  /** When all work is to be done, milliseconds since the epoch; see `remainingMs` of `pass`. Default: never. */
  readonly deadlineUnixMs?: number
  /** Time between two questions to the provider. Default: 5 minutes. */
  readonly checkMs?: number
  /** How long one answer of the provider may take. Default: 30 seconds. */
  readonly answerMs?: number
  /** Default: the clock of the machine. */
  readonly clock?: ScheduleClock
  /** Hears of pauses, of their end, and of a provider that does not answer. */
  readonly onEvent?: (event: CarbonGateEvent) => void
  /** Called each time the gate looks again in a pause, before it asks. */
  readonly onCheck?: () => void
}

type Answer = { readonly grams: number } | { readonly error: unknown }

/** How long work waits for an answer that it can do without. */
const patienceMs = 1000

/** Between two looks in a pause, after the first. */
const leastWaitMs = 30_000

/**
 * Holds a run between two of its steps while the grid is dirty. A provider that fails, or that does not answer, never
 * stops a run: it is told, and the run goes on.
 */
export class CarbonGate {
  readonly #options: Required<CarbonGateOptions>
  #nextCheck = -Infinity
  #pausedMs = 0
  #hasAsked = false
  #asking: { readonly answer: Promise<Answer>; readonly since: number } | undefined
  /** Codes said since the grid was last clean, or the provider last answered. */
  readonly #said = new Set<string>()

  constructor(options: CarbonGateOptions) {
    this.#options = {
      resumeBelow: options.pauseAbove * 0.9,
      longestPauseMs: 12 * 3_600_000,
      deadlineUnixMs: Infinity,
      checkMs: 300_000,
      answerMs: 30_000,
      clock: systemClock,
      onEvent: () => undefined,
      onCheck: () => undefined,
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
   * @param remainingMs how long the work still takes: with a deadline no pause is longer than the rest. Default 0
   * @returns milliseconds spent in a pause
   */
  async pass(signal?: AbortSignal, beforePause?: () => Promise<unknown>, remainingMs = 0): Promise<number> {
    const { pauseAbove, checkMs, clock } = this.#options
    const now = clock.now()
    // A wall clock that was set back must not put the next look off for hours.
    if (now < this.#nextCheck && now >= this.#nextCheck - checkMs) return 0
    // The first look may hold up the run for an answer; later ones are awaited while it works.
    const waitMs = !this.#hasAsked ? this.#options.answerMs : this.#asking === undefined ? patienceMs : 0
    const answer = await this.#ask(waitMs, signal)
    if (answer === 'pending') return 0
    this.#hasAsked = true
    this.#nextCheck = clock.now() + checkMs
    if (answer === undefined || answer <= pauseAbove) {
      if (answer !== undefined) this.#said.clear()
      return 0
    }
    const ahead = await this.#lookAhead(answer, remainingMs, signal)
    if (ahead === undefined || signal?.aborted === true) return 0
    await beforePause?.()
    this.#tellPause(answer, ahead)
    const pausedMs = await this.#hold(ahead, remainingMs, signal)
    this.#nextCheck = clock.now() + checkMs
    return pausedMs
  }

  /** The last moment to go on: the deadline's, or that of the longest pause. */
  #latest(remainingMs: number): number {
    const { deadlineUnixMs, longestPauseMs, clock } = this.#options
    return Math.min(deadlineUnixMs - remainingMs, clock.now() + longestPauseMs - this.#pausedMs)
  }

  /** Whether a pause is worth it, and until when; `undefined`: go on, and that was told. */
  async #lookAhead(grams: number, remainingMs: number, signal: AbortSignal | undefined): Promise<Ahead | undefined> {
    const { provider, zone, resumeBelow, clock, answerMs } = this.#options
    const latestUnixMs = this.#latest(remainingMs)
    const nowUnixMs = clock.now()
    const dirty = `${grams.toFixed(0)} g/kWh in ${zone}`
    if (latestUnixMs <= nowUnixMs) {
      this.#tellOnce('WARN_CARBON_DEADLINE', `${dirty}, but there is no time left to wait: the run goes on`, grams)
      return undefined
    }
    const request = { zone, grams, resumeBelow, nowUnixMs, latestUnixMs, remainingMs }
    const found = await within(
      lookAhead(provider, request).catch((error: unknown) => ({ error })),
      answerMs,
      signal,
    )
    if (found === 'pending' || 'error' in found) {
      if (signal?.aborted !== true) this.#tellUnknown('forecast', found === 'pending' ? undefined : found.error, grams)
      return { latestUnixMs, untilUnixMs: undefined, gramsPerKilowattHour: undefined, isLowest: false }
    }
    if (found.untilUnixMs !== undefined && found.untilUnixMs <= nowUnixMs) {
      const message = `${dirty}, and nothing cleaner is forecast before ${iso(latestUnixMs)}: the run goes on`
      this.#tellOnce('NOTE_CARBON_NO_CLEANER', message, grams)
      return undefined
    }
    return found
  }

  async #hold(begun: Ahead, remainingMs: number, signal: AbortSignal | undefined): Promise<number> {
    const { checkMs, resumeBelow, answerMs, clock, onCheck } = this.#options
    const started = clock.now()
    const pausedBefore = this.#pausedMs
    const isAborted = (): boolean => signal?.aborted === true
    let ahead: Ahead = begun
    let why: string | undefined
    let grams: number | undefined
    while (why === undefined) {
      const now = clock.now()
      const until = ahead.untilUnixMs !== undefined && ahead.untilUnixMs > now ? ahead.untilUnixMs : Infinity
      // A forecast that is wrong again and again must not turn into a question every millisecond.
      const wait = now === started ? until - now : Math.max(until - now, leastWaitMs)
      await clock.sleep(Math.max(0, Math.min(checkMs, ahead.latestUnixMs - now, wait)), signal)
      this.#pausedMs = pausedBefore + (clock.now() - started)
      onCheck()
      if (isAborted()) why = 'the run is to stop'
      else if (clock.now() >= ahead.latestUnixMs) why = this.#whyLatest()
      else {
        const answer = await this.#ask(answerMs, signal)
        grams = answer === 'pending' ? undefined : answer
        if (isAborted()) why = 'the run is to stop'
        else if (grams === undefined) why = 'the provider does not answer'
        else if (grams <= resumeBelow) why = `${grams.toFixed(0)} g/kWh`
        else if (ahead.untilUnixMs !== undefined && clock.now() >= ahead.untilUnixMs) {
          // The hours that were forecast are here. The lowest ones there are will do; else the forecast was wrong.
          if (ahead.isLowest) why = `${grams.toFixed(0)} g/kWh, the lowest that was forecast`
          else {
            const next = await this.#lookAhead(grams, remainingMs, signal)
            if (next === undefined) why = 'nothing cleaner is forecast'
            else ahead = next
          }
        }
      }
    }
    const pausedMs = clock.now() - started
    this.#pausedMs = pausedBefore + pausedMs
    this.#tell('NOTE_CARBON_RESUME', `Goes on after a pause of ${duration(pausedMs)}: ${why}`, grams)
    return pausedMs
  }

  #whyLatest(): string {
    const { longestPauseMs } = this.#options
    return this.#pausedMs >= longestPauseMs
      ? `the longest pause of ${duration(longestPauseMs)} is over`
      : 'the deadline leaves no more time'
  }

  #tellPause(grams: number, { untilUnixMs, gramsPerKilowattHour, latestUnixMs }: Ahead): void {
    const { zone, pauseAbove, resumeBelow, onEvent } = this.#options
    const plan =
      untilUnixMs === undefined || gramsPerKilowattHour === undefined
        ? `waiting for less than ${resumeBelow.toFixed(0)}, until ${iso(latestUnixMs)} at the latest`
        : `waiting for a low-carbon window until ${iso(untilUnixMs)}, forecast ${gramsPerKilowattHour.toFixed(0)} g/kWh, saves about ${(100 * (1 - gramsPerKilowattHour / grams)).toFixed(0)} %; goes on at ${iso(latestUnixMs)} at the latest`
    onEvent({
      code: 'NOTE_CARBON_PAUSE',
      message: `Paused: ${grams.toFixed(0)} g/kWh in ${zone}, above ${pauseAbove}; ${plan}`,
      gramsPerKilowattHour: grams,
      forecastGramsPerKilowattHour: gramsPerKilowattHour,
      untilUnixMs,
      latestUnixMs,
    })
  }

  #tell(code: string, message: string, gramsPerKilowattHour: number | undefined): void {
    const none = { forecastGramsPerKilowattHour: undefined, untilUnixMs: undefined, latestUnixMs: undefined }
    this.#options.onEvent({ code, message, gramsPerKilowattHour, ...none })
  }

  #tellOnce(code: string, message: string, grams: number | undefined): void {
    if (this.#said.has(code)) return
    this.#said.add(code)
    this.#tell(code, message, grams)
  }

  /** `undefined` for an error: no answer in time. */
  #tellUnknown(what: string, error: unknown, grams?: number): void {
    const { zone, answerMs } = this.#options
    const reason =
      error === undefined
        ? `no answer within ${answerMs / 1000} s`
        : SwiftError.isInstance(error)
          ? `${error.code} ${error.found}`
          : error instanceof Error
            ? error.message
            : String(error)
    const rest = what === 'forecast' ? 'no end of the pause is known' : 'the run goes on'
    this.#tellOnce('WARN_CARBON_UNKNOWN', `The carbon ${what} of ${zone} is unknown, so ${rest}: ${reason}`, grams)
  }

  /**
   * Grams per kWh now; `undefined` when the provider fails, which is told; `pending` while it has some time left. A
   * question that is still open is not asked again.
   */
  async #ask(waitMs: number, signal: AbortSignal | undefined): Promise<number | 'pending' | undefined> {
    const { provider, zone, answerMs, clock } = this.#options
    this.#asking ??= { answer: intensity(provider, zone, clock.now()), since: performance.now() }
    const { answer, since } = this.#asking
    const found = await within(answer, waitMs, signal)
    if (found === 'pending') {
      const isOverdue = performance.now() - since >= answerMs - 1
      if (!isOverdue || signal?.aborted === true) return 'pending'
      this.#asking = undefined
      this.#tellUnknown('intensity', undefined)
      return undefined
    }
    this.#asking = undefined
    if ('error' in found) {
      this.#tellUnknown('intensity', found.error)
      return undefined
    }
    this.#said.delete('WARN_CARBON_UNKNOWN')
    return found.grams
  }
}

function intensity(provider: CarbonProvider, zone: string, now: number): Promise<Answer> {
  return Promise.resolve()
    .then(() => provider.doFactor(zone, new Date(now)))
    .then(
      ({ gramsPerKilowattHour: grams }) => ({ grams }),
      (error: unknown) => ({ error }),
    )
}

/** A promise's value, or `pending` after some time or when the signal is aborted. */
async function within<Value>(
  promise: Promise<Value>,
  milliseconds: number,
  signal: AbortSignal | undefined,
): Promise<Value | 'pending'> {
  if (signal?.aborted === true) return 'pending'
  let giveUp = (): void => undefined
  const late = new Promise<'pending'>((resolve) => {
    giveUp = () => resolve('pending')
  })
  const timer = setTimeout(giveUp, milliseconds)
  signal?.addEventListener('abort', giveUp, { once: true })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
    signal?.removeEventListener('abort', giveUp)
  }
}

function iso(unixMs: number): string {
  return Number.isFinite(unixMs) ? new Date(unixMs).toISOString() : 'any time'
}

function duration(milliseconds: number): string {
  const seconds = milliseconds / 1000
  if (seconds < 120) return `${seconds.toFixed(0)} s`
  return seconds < 7200 ? `${(seconds / 60).toFixed(0)} min` : `${(seconds / 3600).toFixed(1)} h`
}
