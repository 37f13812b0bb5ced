import type { EnergyClass, LedgerTotals, MarkStream, SettledEnergy } from '@swift/spec'
import type { Ledger } from '../ledger.ts'
import type { Phase } from '../phase.ts'
import { largestRemainder } from './largest-remainder.ts'
import { RequestLedger, type RequestReport } from './request-ledger.ts'
import { type FittedRequestWeights, fitRequestWeights, fewestSteps, type RequestWork } from './request-weights.ts'

/** How a {@link RequestMeter} marks its steps. */
export interface RequestMeterOptions {
  /** Phase of the whole generation; one meter per path. Default `generate`. */
  readonly path?: string
  /** Device that does the steps. Default: marks are taken when the calls are made. */
  readonly stream?: MarkStream
}

/** Requests of one class of energy. */
export interface RequestClassReport extends RequestReport {
  /** Weights fitted on the steps; `undefined` for fewer than 20, which are divided by the tokens in them. */
  readonly fit: FittedRequestWeights | undefined
}

/** Energy by request, measured and modelled apart; `undefined` is unavailable. */
export interface RequestMeterReport {
  readonly measured: RequestClassReport | undefined
  readonly modelled: RequestClassReport | undefined
}

interface Step {
  readonly work: readonly RequestWork[]
  readonly phase: Phase
  settled: Promise<SettledEnergy> | undefined
}

/** The ledger keeps 20,000 phases apart; the older half of so many steps is settled while the generation goes on. */
const mostUnsettled = 8192

/** Where nothing could be fitted, a token is a token. */
const tokenWeights = { newToken: 1, newTokenContext: 0, promptToken: 1, promptTokenContext: 0, step: 0 }

interface Accounts {
  /** Steps of the engine. */
  readonly steps: bigint
  /** The generation outside its steps. */
  readonly shared: bigint
  readonly idle: bigint
}

/** What the accounts of a path hold of one class; `undefined` where the class is not there. */
function accountsOf({ entries }: LedgerTotals, path: string, energyClass: EnergyClass): Accounts | undefined {
  const own = entries.filter((entry) => entry.energyClass === energyClass)
  if (own.length === 0) return undefined
  const sum = (isIn: (entry: (typeof own)[number]) => boolean): bigint =>
    own.filter(isIn).reduce((total, { nanojoules }) => total + nanojoules, 0n)
  return {
    steps: sum((entry) => entry.kind === 'phase' && entry.path.startsWith(`${path}/`)),
    shared: sum((entry) => entry.kind === 'phase' && entry.path === path),
    idle: sum((entry) => entry.kind === 'idle' && (entry.path === path || entry.path.startsWith(`${path}/`))),
  }
}

/**
 * Divides the energy of a generation over its requests: every step of the engine is a phase, and what the ledger books to
 * those phases is divided by what each request did in them. Requests, shared and idle are those accounts, to the nanojoule.
 *
 * ```ts
 * using meter = new RequestMeter(ledger, { stream: model.device })
 * await model.generateBatch(prompts, { meter })
 * meter.end()
 * await model.device.flush()
 * console.log(await meter.report())
 * ```
 */
export class RequestMeter implements Disposable {
  readonly #ledger: Ledger
  readonly #path: string
  readonly #whole: Phase
  readonly #stream: MarkStream | undefined
  readonly #steps: Step[] = []
  #settledSteps = 0

  constructor(ledger: Ledger, { path = 'generate', stream }: RequestMeterOptions = {}) {
    this.#ledger = ledger
    this.#path = path
    this.#stream = stream
    this.#whole = ledger.phase(path, stream === undefined ? {} : { stream })
  }

  /**
   * Begins a step of the engine; it ends when the result is disposed.
   * @param work what each request does in it
   */
  step(work: readonly RequestWork[]): Disposable {
    const name = work.every(({ promptTokens }) => promptTokens === 0) ? 'decode' : 'prefill'
    const stream = this.#stream
    const phase = this.#ledger.phase(`${this.#path}/${name}`, stream === undefined ? {} : { stream })
    return {
      [Symbol.dispose]: () => {
        phase.end()
        this.#steps.push({ work, phase, settled: undefined })
        if (this.#steps.length - this.#settledSteps >= mostUnsettled) this.#settleOlder(mostUnsettled / 2)
      },
    }
  }

  #settleOlder(count: number): void {
    const until = Math.min(this.#settledSteps + count, this.#steps.length)
    for (const step of this.#steps.slice(this.#settledSteps, until)) {
      step.settled = this.#ledger.settle(step.phase)
      // Whoever asks for the report hears of it.
      step.settled.catch(() => undefined)
    }
    this.#settledSteps = until
  }

  /** Ends the generation. A second call does nothing. */
  end(): void {
    this.#whole.end()
  }

  /**
   * Energy by request, once every step is settled. Ends the generation. Flush the device first: marks that it has not
   * reached are waited for. While the ledger is open, what it learns of later work still moves joules between phases;
   * after `close` the report is final.
   * @throws what `Ledger.settle` throws
   */
  async report(): Promise<RequestMeterReport> {
    this.end()
    // Afterwards every step is known at the first question.
    await this.#ledger.settle()
    const steps: { readonly work: readonly RequestWork[]; readonly settled: SettledEnergy }[] = []
    for (const { work, phase, settled } of this.#steps) {
      steps.push({ work, settled: await (settled ?? this.#ledger.settle(phase)) })
    }
    const totals = this.#ledger.totals()
    const of = (energyClass: EnergyClass): RequestClassReport | undefined => {
      const accounts = accountsOf(totals, this.#path, energyClass)
      if (accounts === undefined) return undefined
      const active = steps.map(({ settled }) => settled.active[energyClass]?.nanojoules ?? 0n)
      // A division over phases is made better by later steps; what the accounts hold now is what is divided.
      const parts = largestRemainder(accounts.steps, active.map(Number))
      const samples = steps.map(({ work }, index) => ({ work, nanojoules: parts[index] ?? 0n }))
      const used = samples.filter(({ work }) => work.length > 0)
      const fit = used.length < fewestSteps ? undefined : fitRequestWeights(used)
      const requests = new RequestLedger(fit ?? tokenWeights)
      for (const { work, nanojoules } of samples) requests.step({ activeNanojoules: nanojoules, work })
      const rest = steps.length === 0 ? accounts.steps : 0n
      requests.step({ activeNanojoules: accounts.shared + rest, idleNanojoules: accounts.idle, work: [] })
      return { ...requests.report(), fit }
    }
    return { measured: of('measured'), modelled: of('modelled') }
  }

  [Symbol.dispose](): void {
    this.end()
  }
}
