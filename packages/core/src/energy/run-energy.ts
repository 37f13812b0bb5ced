import { Ledger, type LiveEnergy } from '@swift/energy'
import { SwiftError, type EnergyReport, type LedgerEvent, type LedgerSnapshot, type MarkStream } from '@swift/spec'
import type { RunCarbon } from './run-carbon.ts'
import { restorePower } from './run-power.ts'

/** How {@link RunEnergy.open} opens the ledger. */
export interface RunEnergyOptions {
  /** Continue from this snapshot: energy spent after it becomes `rework`. */
  readonly resume?: LedgerSnapshot | undefined
  /** Called with problems of the sources and of the journal. */
  readonly onEvent?: (event: LedgerEvent) => void
}

/** An open phase; ends with `using`. */
export interface OpenPhase extends Disposable {
  /** Opens a phase inside, on the same stream. */
  phase(name: string): OpenPhase
  /** Ends it. */
  end(): void
}

const unmetered: OpenPhase = { phase: () => unmetered, end: () => undefined, [Symbol.dispose]: () => undefined }

/**
 * The energy of a run: a ledger in the run's folder, or, where the meter is missing, the reason why there is none.
 * Work goes inside phases either way.
 */
export class RunEnergy implements AsyncDisposable {
  /** The ledger, where there is one. */
  readonly ledger: Ledger | undefined
  /** Why there is none. */
  readonly unavailable: string | undefined
  readonly #owned: boolean
  #atClose: LedgerSnapshot | undefined
  #isClosed = false

  private constructor(ledger: Ledger | undefined, unavailable: string | undefined, owned: boolean) {
    this.ledger = ledger
    this.unavailable = unavailable
    this.#owned = owned
  }

  /** Opens the ledger of a folder; without the native meter the run goes on unmetered, and `unavailable` says so. */
  static async open(folder: string, { resume, onEvent }: RunEnergyOptions = {}): Promise<RunEnergy> {
    await restorePower(onEvent)
    try {
      const options = { ...(resume === undefined ? {} : { resume }), ...(onEvent === undefined ? {} : { onEvent }) }
      return new RunEnergy(await Ledger.open(folder, options), undefined, true)
    } catch (error) {
      if (!SwiftError.isInstance(error, 'ERR_NATIVE_MISSING')) throw error
      return new RunEnergy(undefined, error.message, false)
    }
  }

  /** Uses a ledger that the caller opened and closes. */
  static over(ledger: Ledger): RunEnergy {
    return new RunEnergy(ledger, undefined, false)
  }

  /** No ledger, for the reason given. */
  static none(reason: string): RunEnergy {
    return new RunEnergy(undefined, reason, false)
  }

  /** Opens a phase, on a device when one is given. */
  phase(path: string, stream?: MarkStream): OpenPhase {
    if (this.#isClosed) return unmetered
    return this.ledger?.phase(path, stream === undefined ? {} : { stream }) ?? unmetered
  }

  /** Watts and joules now; undefined without a ledger. */
  live(): LiveEnergy | undefined {
    return this.ledger?.live()
  }

  /** What a checkpoint keeps; undefined without a ledger. */
  async snapshot(): Promise<LedgerSnapshot | undefined> {
    return this.#isClosed ? this.#atClose : this.ledger?.snapshot()
  }

  /**
   * Energy by epoch; undefined without a ledger. A carbon provider that fails takes no result away: the yearly factor
   * stands in, and the report says so.
   * @param carbon where grid factors come from
   */
  async report({ provider, zone }: RunCarbon): Promise<EnergyReport | undefined> {
    return this.ledger?.report({ per: 'epoch', carbonFallback: true, carbon: provider, zone })
  }

  /** Closes a ledger that {@link RunEnergy.open} opened. */
  async close(): Promise<void> {
    if (!this.#owned || this.#isClosed) return
    // A checkpoint written after the run, such as after a full disk was cleared, still holds its energy.
    this.#atClose = await this.ledger?.snapshot().catch(() => undefined)
    this.#isClosed = true
    await this.ledger?.close()
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}
