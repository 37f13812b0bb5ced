import {
  CarbonGate,
  type CarbonGateEvent,
  type CarbonGateOptions,
  chooseStart,
  type ChosenWindow,
  describeWindow,
  parseDeadline,
  parseDuration,
  systemClock,
} from '@swift/energy'
import { SwiftError } from '@swift/spec'
import type { PauseEvent, TrainingEvent } from '../events/training-event.ts'
import type { TrainerArguments } from '../options/trainer-arguments.ts'
import { formatDuration } from '../planning/format-units.ts'
import type { RunBudget } from './run-budget.ts'
import type { RunCarbon } from './run-carbon.ts'
import type { OpenPhase, RunEnergy } from './run-energy.ts'

/** How the gate of a run is set besides the options; for tests and unusual grids. */
export type RunGateOptions = Pick<
  CarbonGateOptions,
  'resumeBelow' | 'longestPauseMs' | 'checkMs' | 'answerMs' | 'clock'
>

/** What a schedule is made of. */
export interface RunScheduleParts {
  /** Arguments of the run. */
  readonly args: TrainerArguments
  /** Provider and zone. */
  readonly carbon: RunCarbon
  /** Finer settings. */
  readonly gate: RunGateOptions | undefined
  /** Forecast time of a step, until steps were measured. */
  readonly plannedStepMs: number
  /** Phases, and notes. */
  readonly energy: RunEnergy
  /** A pause costs energy too: a spent budget ends it. */
  readonly budget: RunBudget | undefined
  /** Ends a pause. */
  readonly signal: AbortSignal | undefined
  /** Hears of events. */
  readonly emit: (event: TrainingEvent) => void
  /** Keeps pauses in `logging.jsonl`. */
  readonly append: (record: object) => Promise<void>
}

/** A moment between two optimizer steps. */
export interface BetweenSteps {
  /** Steps done. */
  readonly step: number
  /** Steps in all. */
  readonly totalSteps: number
  /** Waits for the device and sees that the present state is in a checkpoint. */
  readonly settle: () => Promise<unknown>
}

/** The plan knows neither evaluations nor what else runs on the machine; measured steps do. */
const margins = { planned: 1.25, measured: 1.1 }

/**
 * When a run trains: it starts in the hours of lowest carbon before `deadline`, and pauses between steps while the grid is above
 * `pauseAbove`. Time in pauses is the phase `pause` of the ledger. A provider that fails is told, and training goes on.
 */
export class RunSchedule {
  readonly #parts: RunScheduleParts
  readonly #deadlineUnixMs: number
  readonly #stop = new AbortController()
  readonly #signal: AbortSignal
  readonly #gate: CarbonGate | undefined
  readonly #notes: Promise<unknown>[] = []
  readonly #phases: OpenPhase[] = []
  #isStarted = false
  #step = 0
  #stepsDone = 0
  /** When the first step began, moved on by every pause. */
  #begun: number | undefined
  #pauseBegan: number | undefined
  #waitedMs = 0
  /** Pauses of the gate before the present one. */
  #gatePausedMs = 0

  private constructor(parts: RunScheduleParts) {
    const { args, carbon, gate, signal } = parts
    const { clock = systemClock } = gate ?? {}
    this.#parts = parts
    this.#signal = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal])
    this.#deadlineUnixMs = args.deadline === undefined ? Infinity : parseDeadline(args.deadline, clock.now(), true)
    if (args.pauseAbove === undefined) return
    this.#gate = new CarbonGate({
      ...gate,
      ...carbon,
      pauseAbove: args.pauseAbove,
      deadlineUnixMs: this.#deadlineUnixMs,
      onEvent: (event) => this.#onGate(event),
      onCheck: () => this.#onCheck(),
    })
  }

  /** The schedule of a run; undefined where none was asked for. */
  static open(parts: RunScheduleParts): RunSchedule | undefined {
    const { deadline, pauseAbove } = parts.args
    return deadline === undefined && pauseAbove === undefined ? undefined : new RunSchedule(parts)
  }

  /** Time in pauses, the wait for the start included, in milliseconds. */
  get pausedMs(): number {
    return this.#waitedMs + (this.#gate?.pausedMs ?? 0)
  }

  /** Waits where the schedule says so. @returns whether it did: the signal and the budget are to be looked at again */
  async beforeStep(moment: BetweenSteps): Promise<boolean> {
    const { step, totalSteps, settle } = moment
    if (this.#begun !== undefined) this.#stepsDone += step - this.#step
    this.#step = step
    let hasPaused = false
    try {
      if (!this.#isStarted) hasPaused = await this.#waitForStart(moment)
      this.#isStarted = true
      if (this.#gate !== undefined && !this.#signal.aborted) {
        const remainingMs = this.#remainingMs(step, totalSteps)
        const pausedMs = await this.#gate.pass(this.#signal, () => this.#enter(settle), remainingMs)
        hasPaused ||= pausedMs > 0
      }
    } finally {
      for (const phase of this.#phases.splice(0)) phase.end()
    }
    const now = performance.now()
    // Asking is part of the time of the steps: only pauses are not.
    this.#begun = this.#begun === undefined ? now : this.#begun + now - (this.#pauseBegan ?? now)
    this.#pauseBegan = undefined
    return hasPaused
  }

  /** From here on nothing is computed. */
  async #enter(settle: BetweenSteps['settle']): Promise<void> {
    await settle()
    if (this.#phases.length === 0) this.#phases.push(this.#parts.energy.phase('pause'))
    this.#pauseBegan ??= performance.now()
  }

  /** Waits until the reasons are in the ledger's folder. */
  async settle(): Promise<void> {
    await Promise.all(this.#notes.splice(0))
  }

  /** How long the steps that are left take, with a margin, in whole milliseconds: instants have no room for parts of them. */
  #remainingMs(step: number, totalSteps: number): number {
    return Math.ceil(this.#estimateMs(step, totalSteps))
  }

  #estimateMs(step: number, totalSteps: number): number {
    const rest = totalSteps - step
    if (this.#begun !== undefined && this.#stepsDone > 0) {
      // Evaluations and checkpoints are in it, pauses are not.
      return (margins.measured * rest * (performance.now() - this.#begun)) / this.#stepsDone
    }
    const { duration } = this.#parts.args
    if (duration !== undefined) return (parseDuration(duration) * rest) / Math.max(1, totalSteps)
    return margins.planned * rest * this.#parts.plannedStepMs
  }

  async #waitForStart({ step, totalSteps, settle }: BetweenSteps): Promise<boolean> {
    const { args, gate } = this.#parts
    const { clock = systemClock, checkMs = 300_000 } = gate ?? {}
    const now = clock.now()
    if (args.deadline === undefined || step >= totalSteps) return false
    const durationMs = this.#remainingMs(step, totalSteps)
    const window = await this.#chooseStart(now, durationMs)
    if (window === undefined || this.#signal.aborted) return false
    const { startUnixMs } = window
    const instant = new Date(startUnixMs).toISOString()
    if (startUnixMs <= now) {
      this.#note(
        'NOTE_CARBON_START',
        `Starts now: no hours before ${new Date(this.#deadlineUnixMs).toISOString()} are cleaner, ${describeWindow(window)}`,
      )
      return false
    }
    await this.#enter(settle)
    this.#pause('start', {
      code: 'NOTE_CARBON_WAIT',
      message: `Waiting for a low-carbon window until ${instant}: ${describeWindow(window)}`,
      gramsPerKilowattHour: window.nowGramsPerKilowattHour,
      forecastGramsPerKilowattHour: window.gramsPerKilowattHour,
      untilUnixMs: startUnixMs,
      latestUnixMs: this.#deadlineUnixMs - durationMs,
    })
    while (clock.now() < startUnixMs && !this.#signal.aborted) {
      await clock.sleep(Math.min(checkMs, startUnixMs - clock.now()), this.#signal)
      this.#onCheck()
    }
    const why = this.#signal.aborted ? 'the run is to stop' : 'the window begins'
    this.#waitedMs = clock.now() - now
    this.#resume(this.#waitedMs, `Starts after a wait of ${formatDuration(this.#waitedMs / 1000)}: ${why}`)
    return true
  }

  /** The best start; undefined, and told, where nobody knows it or there is no time to wait. */
  async #chooseStart(fromUnixMs: number, durationMs: number): Promise<ChosenWindow | undefined> {
    const { provider, zone } = this.#parts.carbon
    const { answerMs = 30_000 } = this.#parts.gate ?? {}
    const { promise: late, reject } = Promise.withResolvers<never>()
    const giveUp = (): void => reject(new Error(`no answer within ${answerMs / 1000} s`))
    const timer = setTimeout(giveUp, answerMs)
    this.#signal.addEventListener('abort', giveUp, { once: true })
    try {
      const request = { fromUnixMs, deadlineUnixMs: this.#deadlineUnixMs, durationMs }
      return await Promise.race([chooseStart(provider, zone, request), late])
    } catch (error) {
      if (this.#signal.aborted) return undefined
      const isTooNear = this.#deadlineUnixMs - durationMs < fromUnixMs
      const code = isTooNear ? 'WARN_CARBON_DEADLINE' : 'WARN_CARBON_UNKNOWN'
      const end = new Date(fromUnixMs + durationMs).toISOString()
      const reason = SwiftError.isInstance(error) ? `${error.code} ${error.found}` : String(error)
      const why = isTooNear
        ? `it is expected to end at ${end}, after the deadline`
        : `the forecast of ${zone} is unknown`
      this.#note(code, `Starts now, without waiting for hours of low carbon: ${why}: ${reason}`)
      return undefined
    } finally {
      clearTimeout(timer)
      this.#signal.removeEventListener('abort', giveUp)
    }
  }

  #onCheck(): void {
    if (this.#parts.budget?.lookInPause() === true) this.#stop.abort()
  }

  #onGate(event: CarbonGateEvent): void {
    const { code, message } = event
    if (code === 'NOTE_CARBON_PAUSE') this.#pause('grid', event)
    else if (code === 'NOTE_CARBON_RESUME') this.#resume((this.#gate?.pausedMs ?? 0) - this.#gatePausedMs, message)
    else this.#note(code, message)
  }

  #pause(reason: PauseEvent['reason'], { code, message, ...numbers }: CarbonGateEvent): void {
    this.#gatePausedMs = this.#gate?.pausedMs ?? 0
    this.#keep(code, message, { type: 'pause', reason, step: this.#step, message, ...numbers })
  }

  #resume(pausedMs: number, message: string): void {
    this.#keep('NOTE_CARBON_RESUME', message, { type: 'resume', step: this.#step, pausedMs, message })
  }

  #note(code: string, message: string): void {
    this.#parts.emit({ type: 'note', code, message })
    this.#write(code, message)
  }

  #keep(code: string, message: string, event: TrainingEvent): void {
    this.#parts.emit(event)
    this.#write(code, message)
    this.#notes.push(this.#parts.append({ unixMs: Date.now(), ...event }))
    this.#notes.at(-1)?.catch(() => undefined)
  }

  /** A disk that is full is the checkpoint's to tell. */
  #write(code: string, message: string): void {
    const { ledger } = this.#parts.energy
    if (ledger !== undefined) this.#notes.push(ledger.note(code, message).catch(() => undefined))
  }
}
