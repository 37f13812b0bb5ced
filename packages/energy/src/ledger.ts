import {
  type EnergyMeter,
  meterFindSources,
  meterMark,
  meterMerge,
  meterNow,
  meterSources,
  meterVerify,
  openMeter,
} from '@swift/kernels/meter'
import {
  type EnergyReport,
  type EnergySourceDescriptor,
  type EnergySplit,
  type LedgerEvent,
  type LedgerSnapshot,
  type LedgerTotals,
  type LedgerVerification,
  type MarkEdge,
  type MarkStream,
  type SettledEnergy,
  SwiftError,
} from '@swift/spec'
import { sumEntries } from './amounts.ts'
import { appendNote, type LedgerNote, readNotes } from './ledger-notes.ts'
import { type LedgerOptions, toNativeOptions } from './ledger-options.ts'
import { callNative, callNativeAsync } from './native.ts'
import { Phase, type PhaseOptions, type PhaseOwner } from './phase.ts'
import { poll } from './poll.ts'
import { type NativeSource, readState, toSource, uncertaintyLookup } from './read-state.ts'
import { reportWithTimes, seriesOnDisk, totalsOnDisk } from './ledger-on-disk.ts'
import { type SourceOptions, toNativeSourceOptions } from './source-options.ts'
import type { LedgerSeries, SeriesOptions } from './read-series.ts'
import type { ReportOptions } from './report.ts'
import { readSettled } from './settled.ts'

/** Power and energy for a display: no commit, no waiting. */
export interface LiveEnergy {
  /** Watts over the last sample; `undefined` where nothing is measured. */
  readonly measuredWatts: number | undefined
  /** Watts over the last sample; `undefined` where nothing is modelled. */
  readonly modelledWatts: number | undefined
  /** Phases so far, with their idle share. */
  readonly energy: EnergySplit
}

/** Events are fetched this often while a ledger is open. */
const eventsMs = 1000

/** How long `open` waits for the first reading of every source. */
const firstReadingMs = 1000

/** How long `close` leaves the event loop free while controllers are asked for the last time. */
const farewellMs = 5000

/** How long to wait for marks, samples and the disk. Device marks come when the device gets there. */
const settleTimeoutMs = 60_000

/**
 * The joule ledger of a run: measures from `open` to `close` whatever the program does, and gives every nanojoule an
 * account. Sampling, accounts and journal are native threads; a blocked event loop changes no total.
 *
 * ```ts
 * await using ledger = await Ledger.open('run/energy')
 * {
 *   using phase = ledger.phase('train/epoch:0/forward', { stream: device })
 *   forward()
 * }
 * console.log(await ledger.report({ per: 'epoch' }))
 * ```
 */
export class Ledger implements AsyncDisposable, PhaseOwner {
  /** Folder of the journal. */
  readonly directory: string
  /** The run; resumed parts share it. */
  readonly runId: string
  readonly #meter: EnergyMeter
  readonly #rank: number
  readonly #pathIds = new Map<string, number>()
  readonly #tracks = new WeakMap<MarkStream, number>()
  #trackCount = 0
  readonly #listeners = new Set<(event: LedgerEvent) => void>()
  readonly #timer: NodeJS.Timeout
  #closing: Promise<LedgerTotals> | undefined

  private constructor(directory: string, meter: EnergyMeter, options: LedgerOptions) {
    this.directory = directory
    this.runId = meter.runId()
    this.#meter = meter
    this.#rank = options.rank ?? 0
    if (options.onEvent !== undefined) this.#listeners.add(options.onEvent)
    this.#timer = setInterval(() => this.#deliverEvents(), eventsMs)
    this.#timer.unref()
  }

  /**
   * Open a ledger and start measuring.
   * @param directory folder of the journal, made where it is missing; one run per folder
   * @throws `ERR_LEDGER_LOCKED` another ledger writes there; `ERR_LEDGER_EXISTS` with `resume: 'never'`;
   *   `ERR_LEDGER_SNAPSHOT` the snapshot is of another run; `ERR_LEDGER_SEGMENT` the journal there is damaged at its
   *   start; `ERR_LEDGER_OPTION`; `ERR_ENERGY_REDFISH_OPTION` and `ERR_ENERGY_REDFISH_PLAIN` for an address, credential or
   *   certificate option that cannot be used; `ERR_LEDGER_IO`; `ERR_NATIVE_MISSING`
   */
  static async open(directory: string, options: LedgerOptions = {}): Promise<Ledger> {
    const meter = await callNativeAsync(`Opening the energy ledger ${directory}`, () =>
      openMeter(toNativeOptions(directory, options)),
    )
    const ledger = new Ledger(directory, meter, options)
    const baselineMs = (options.idle?.seconds ?? 1) * 1000
    await poll(() => meter.isReady() || undefined, baselineMs + settleTimeoutMs)
    // A counter's first reading is its starting point: what is spent before it is nobody's. A source that does not
    // answer must not hold up the run; it is reported by an event.
    const opened = meterNow()
    await poll(() => meter.isSettled(opened) || undefined, firstReadingMs)
    return ledger
  }

  /**
   * What this machine can measure, what is modelled, what is unavailable and why. Starts and writes nothing. Waits for a
   * management controller in the network, where one is named: {@link Ledger.findSources} does not block meanwhile.
   */
  static sources(options: SourceOptions = {}): readonly EnergySourceDescriptor[] {
    const native = JSON.stringify(toNativeSourceOptions(options))
    return toSources(callNative('Looking for energy sources', () => meterSources(native)))
  }

  /** {@link Ledger.sources} without blocking the event loop. */
  static async findSources(options: SourceOptions = {}): Promise<readonly EnergySourceDescriptor[]> {
    const native = JSON.stringify(toNativeSourceOptions(options))
    return toSources(await callNativeAsync('Looking for energy sources', () => meterFindSources(native)))
  }

  /**
   * Energy over time of a ledger on disk, from its commits: one each second, merged into fewer where there are many.
   * @throws `ERR_LEDGER_EMPTY` when the folder holds none
   */
  static async series(directory: string, options: SeriesOptions = {}): Promise<LedgerSeries> {
    return seriesOnDisk(directory, options)
  }

  /**
   * Report over a ledger on disk, also one whose writer was killed.
   * @throws `ERR_LEDGER_EMPTY` when the folder holds none
   */
  static async report(directory: string, options: ReportOptions = {}): Promise<EnergyReport> {
    const totals = Ledger.read(directory)
    return reportWithTimes(totals, directory, { ...options, journal: await Ledger.verify(directory) })
  }

  /** Totals of a ledger on disk at its last commit. */
  static read(directory: string, options: { readonly rank?: number } = {}): LedgerTotals {
    return totalsOnDisk(directory, options.rank)
  }

  /**
   * Totals over the ledgers of several ranks or machines: a set union, so that the order of the folders, and a folder
   * named twice, change nothing.
   * @throws `ERR_LEDGER_MERGE_CONFLICT` when two records of one source contradict each other
   */
  static merge(directories: readonly string[]): LedgerTotals {
    return readState(callNative(`Merging ${directories.length} energy ledgers`, () => meterMerge(directories)))
  }

  /** Check a ledger on disk: checksums, hash chain and invariants. Damage is a finding, not an error. */
  static async verify(directory: string): Promise<LedgerVerification> {
    const json = callNative(`Checking the energy ledger ${directory}`, () => meterVerify(directory))
    return JSON.parse(json) as LedgerVerification
  }

  /** What is measured, modelled and unavailable in this ledger. */
  sources(): readonly EnergySourceDescriptor[] {
    return this.totals().sources
  }

  /**
   * Begin a phase. About a microsecond; nothing is synchronised.
   *
   * Use few paths: the same path again adds to the same account. Counters are written `epoch:3`. The energy of one
   * step comes from {@link settle}, not from a path of its own.
   * @param path names joined by `/`, such as `train/epoch:0/forward`
   * @throws `ERR_ENERGY_PHASE_PATH`; `ERR_LEDGER_CLOSED`
   */
  phase(path: string, options: PhaseOptions = {}): Phase {
    if (this.#closing !== undefined) {
      throw new SwiftError({
        code: 'ERR_LEDGER_CLOSED',
        asked: `Beginning the phase ${path}`,
        found: `the ledger ${this.directory} is closed`,
        remedy: 'Begin phases before close().',
      })
    }
    let id = this.#pathIds.get(path)
    if (id === undefined) {
      id = callNative(`Beginning the phase ${path}`, () => this.#meter.intern(path))
      this.#pathIds.set(path, id)
    }
    const track = this.#trackOf(options.stream)
    const token = callNative(`Beginning the phase ${path}`, () => this.#meter.declare(id, track))
    return new Phase(this, path, token, options.stream)
  }

  /** Mark one end of a phase in the caller's time; {@link Phase} calls this. */
  markNow(token: number, edge: MarkEdge): void {
    meterMark(token, edge === 'begin')
  }

  /**
   * Energy of one phase with everything inside it, or of the whole ledger. Asynchronous on purpose: the joules of the
   * last moments are not known before the next reading of every source.
   * @param phase an ended phase; default: everything so far
   * @throws `ERR_ENERGY_PHASE_OPEN` before `end()`; `ERR_ENERGY_SETTLE_TIMEOUT` when marks or readings stay away for
   *   a minute; `ERR_ENERGY_PHASE_UNKNOWN` for one of another ledger or more than 20,000 phases ago
   */
  async settle(phase?: Phase): Promise<SettledEnergy> {
    if (phase === undefined) return this.#settleAll()
    if (!phase.ended) {
      throw new SwiftError({
        code: 'ERR_ENERGY_PHASE_OPEN',
        asked: `Settling the phase ${phase.path}`,
        found: 'it has not ended',
        remedy: 'Call end(), or leave the block of its `using`, first.',
      })
    }
    const started = performance.now()
    const json = await poll(() => {
      try {
        return this.#meter.trySettle(phase.token) ?? undefined
      } catch (error) {
        // The declaration reaches the book with the next sample; only then is "unknown" an answer.
        if (performance.now() - started < eventsMs) return undefined
        return callNative(`Settling the phase ${phase.path}`, () => {
          throw error
        })
      }
    }, settleTimeoutMs)
    if (json === undefined) throw settleTimeout(`the phase ${phase.path}`)
    return readSettled(phase.path, json, this.sources())
  }

  async #settleAll(): Promise<SettledEnergy> {
    await this.#settleNow()
    const totals = this.totals()
    const uncertaintyOf = uncertaintyLookup(totals.sources)
    const ownKinds = new Set(['phase', 'unattributed'])
    return {
      path: '',
      durationNanoseconds: totals.durationNanoseconds,
      active: sumEntries(
        totals.entries.filter((entry) => ownKinds.has(entry.kind)),
        uncertaintyOf,
      ),
      idle: sumEntries(
        totals.entries.filter((entry) => entry.kind === 'idle'),
        uncertaintyOf,
      ),
      estimated: false,
    }
  }

  async #settleNow(): Promise<void> {
    if (this.#closing !== undefined) return
    const now = meterNow()
    const settled = await poll(() => this.#meter.isSettled(now) || undefined, settleTimeoutMs)
    if (settled === undefined) throw settleTimeout('the ledger')
  }

  /** Everything up to the last sample. */
  totals(): LedgerTotals {
    return readState(callNative('Reading the energy totals', () => this.#meter.state()))
  }

  /**
   * What this run answers for: its phases with their idle share, work that was lost, work outside phases, gaps and the
   * sampling itself. Other processes, and idle before the first phase, are not in it. For budgets.
   */
  spent(): EnergySplit {
    const totals = this.totals()
    const own = totals.entries.filter(({ kind, path }) => kind !== 'other_tenants' && (kind !== 'idle' || path !== ''))
    return sumEntries(own, uncertaintyLookup(totals.sources))
  }

  /** Power now and energy so far, for a display. */
  live(): LiveEnergy {
    const [measured, modelled] = this.#meter.watts()
    const totals = this.totals()
    const inPhases = totals.entries.filter(
      (entry) => entry.kind === 'phase' || (entry.kind === 'idle' && entry.path !== ''),
    )
    return {
      measuredWatts: measured ?? undefined,
      modelledWatts: modelled ?? undefined,
      energy: sumEntries(inPhases, uncertaintyLookup(totals.sources)),
    }
  }

  /** Report over everything so far. The stored joules are not touched: carbon and PUE are derived. */
  async report(options: ReportOptions = {}): Promise<EnergyReport> {
    await this.#settleNow()
    return reportWithTimes(this.totals(), this.directory, options, this.#rank)
  }

  /** Commit, then check the files on disk. */
  async verify(): Promise<LedgerVerification> {
    if (this.#closing === undefined) await this.snapshot()
    return Ledger.verify(this.directory)
  }

  /**
   * Commit, wait until the commit is on disk, and give what a checkpoint embeds. Take it after the state it belongs
   * to is complete; open with `resume: snapshot` to go back to it.
   * @throws `ERR_LEDGER_WRITE` when the disk refuses the commit; `ERR_LEDGER_CLOSED`
   */
  async snapshot(): Promise<LedgerSnapshot> {
    const asked = 'Taking the energy snapshot of a checkpoint'
    if (this.#closing !== undefined) {
      throw new SwiftError({
        code: 'ERR_LEDGER_CLOSED',
        asked,
        found: `the ledger ${this.directory} is closed`,
        remedy: 'Take snapshots before close().',
      })
    }
    const ticket = this.#meter.requestSnapshot()
    const json = await poll(
      () => callNative(asked, () => this.#meter.takeSnapshot(ticket)) ?? undefined,
      settleTimeoutMs,
    )
    if (json === undefined) throw settleTimeout('the commit of the snapshot')
    return JSON.parse(json) as LedgerSnapshot
  }

  /**
   * Write down why something happened, such as a run that its budget ended. Reports show it; balances do not change.
   * @param code stable, such as `ERR_ENERGY_BUDGET_SPENT`
   * @param message a sentence
   */
  async note(code: string, message: string): Promise<void> {
    await appendNote(this.directory, { unixMs: Date.now(), code, message })
  }

  /** Notes of a ledger on disk, oldest first. */
  static async notes(directory: string): Promise<readonly LedgerNote[]> {
    return readNotes(directory)
  }

  /**
   * Hear of lost sources, gaps and a full disk. Energy never stops a run, and never fails in silence.
   * @returns call it to stop listening
   */
  onEvent(listener: (event: LedgerEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  /**
   * Take the last sample, commit it to disk and stop. Open phases end here. A second call gives the same totals.
   * @throws `ERR_LEDGER_WRITE` when the last commit is not on disk
   */
  async close(): Promise<LedgerTotals> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<LedgerTotals> {
    clearInterval(this.#timer)
    // A management controller is asked once more and told goodbye, which may take two seconds.
    if (this.sources().some(({ kind }) => kind === 'redfish' || kind === 'ipmi')) {
      this.#meter.beginClose()
      await poll(() => this.#meter.hasStopped() || undefined, farewellMs)
    }
    try {
      callNative(`Closing the energy ledger ${this.directory}`, () => this.#meter.close())
    } finally {
      this.#deliverEvents()
    }
    return this.totals()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }

  #trackOf(stream: MarkStream | undefined): number {
    if (stream === undefined) return 0
    let track = this.#tracks.get(stream)
    if (track === undefined) {
      track = ++this.#trackCount
      this.#tracks.set(stream, track)
    }
    return track
  }

  #deliverEvents(): void {
    for (const event of JSON.parse(this.#meter.takeEvents()) as LedgerEvent[]) {
      if (this.#listeners.size === 0) process.emitWarning(event.message, { code: event.code, type: 'EnergyWarning' })
      for (const listener of this.#listeners) listener(event)
    }
  }
}

function toSources(json: string): readonly EnergySourceDescriptor[] {
  return (JSON.parse(json) as NativeSource[]).map(toSource)
}

function settleTimeout(what: string): SwiftError {
  return new SwiftError({
    code: 'ERR_ENERGY_SETTLE_TIMEOUT',
    asked: `Waiting for the energy of ${what}`,
    found: `no answer within ${settleTimeoutMs / 1000} s`,
    remedy:
      'A mark queued on a device comes when the device reaches it: flush the device first, and see the events for lost sources.',
  })
}
