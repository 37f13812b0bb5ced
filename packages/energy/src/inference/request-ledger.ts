import { largestRemainder } from './largest-remainder.ts'
import { type RequestWeights, type RequestWork, weigh } from './request-weights.ts'

/** Energy of one request so far. Integer nanojoules. */
export interface RequestEnergy {
  readonly id: string
  /** Processing the prompt. */
  readonly prefillNanojoules: bigint
  /** Writing tokens. */
  readonly decodeNanojoules: bigint
  readonly promptTokens: number
  readonly newTokens: number
}

/** A step of an engine with its settled energy. */
export interface RequestStep {
  /** Energy that the work of the step used. */
  readonly activeNanojoules: bigint
  /** Idle energy of the machine during the step; stays idle. Default 0. */
  readonly idleNanojoules?: bigint
  /** What each request did; a request at most once. */
  readonly work: readonly RequestWork[]
}

/** All requests of a ledger, and what belongs to none. */
export interface RequestReport {
  readonly requests: readonly RequestEnergy[]
  /** Steps without a request. */
  readonly sharedNanojoules: bigint
  readonly idleNanojoules: bigint
  /** `Σ requests + shared + idle`: what was put in, to the nanojoule (I6). */
  readonly totalNanojoules: bigint
  /** Joules of one request: half of them need less, 95 % need less. `undefined` without requests. */
  readonly medianJoules: number | undefined
  readonly p95Joules: number | undefined
  /** Joules of a token of a prompt and of a written token; `undefined` without such tokens. */
  readonly joulesPerPromptToken: number | undefined
  readonly joulesPerNewToken: number | undefined
  /** All active energy over all written tokens, as serving benchmarks print it. */
  readonly joulesPerNewTokenOverall: number | undefined
  /** Share of idle in the total. */
  readonly idleShare: number | undefined
}

interface Balance {
  prefill: bigint
  decode: bigint
  promptTokens: number
  newTokens: number
}

/**
 * Divides the energy of an engine's steps over the requests in them. The parts of every step add up to it exactly,
 * so requests, shared and idle add up to the device (I6).
 */
export class RequestLedger {
  readonly #weights: RequestWeights
  readonly #balances = new Map<string, Balance>()
  #shared = 0n
  #idle = 0n
  #total = 0n

  /** @param weights from `fitRequestWeights`; proportions count, not sizes */
  constructor(weights: RequestWeights) {
    this.#weights = weights
  }

  /** Books one step. @throws `RangeError` for negative energy */
  step({ activeNanojoules, idleNanojoules = 0n, work }: RequestStep): void {
    if (activeNanojoules < 0n || idleNanojoules < 0n) throw new RangeError('the energy of a step is at least 0')
    this.#total += activeNanojoules + idleNanojoules
    this.#idle += idleNanojoules
    if (work.length === 0) {
      this.#shared += activeNanojoules
      return
    }
    // Ids in order, so that ties of the division do not depend on the order of the batch.
    const ordered = [...work].sort((left, right) => (left.id < right.id ? -1 : left.id > right.id ? 1 : 0))
    const fixed = this.#weights.step / ordered.length
    const weights = ordered.flatMap((request) => {
      const { decode, prefill } = weigh(request, this.#weights)
      const isPrefill = request.newTokens === 0
      return [prefill + (isPrefill ? fixed : 0), decode + (isPrefill ? 0 : fixed)]
    })
    const isWeighed = weights.some((weight) => weight > 0)
    const even = ordered.flatMap(({ newTokens }) => (newTokens === 0 ? [1, 0] : [0, 1]))
    const parts = largestRemainder(activeNanojoules, isWeighed ? weights : even)
    for (const [index, request] of ordered.entries()) {
      const balance = this.#balances.get(request.id) ?? { prefill: 0n, decode: 0n, promptTokens: 0, newTokens: 0 }
      balance.prefill += parts[2 * index] ?? 0n
      balance.decode += parts[2 * index + 1] ?? 0n
      balance.promptTokens += request.promptTokens
      balance.newTokens += request.newTokens
      this.#balances.set(request.id, balance)
    }
  }

  /** Energy of one request so far. */
  request(id: string): RequestEnergy | undefined {
    const balance = this.#balances.get(id)
    return balance === undefined ? undefined : toEnergy(id, balance)
  }

  /** Forgets a request that is over and was reported; its energy stays in the sums of the report as shared. */
  release(id: string): RequestEnergy | undefined {
    const energy = this.request(id)
    if (energy === undefined) return undefined
    this.#balances.delete(id)
    this.#shared += energy.prefillNanojoules + energy.decodeNanojoules
    return energy
  }

  /** Everything so far. */
  report(): RequestReport {
    const requests = [...this.#balances].map(([id, balance]) => toEnergy(id, balance))
    const prefill = requests.reduce((sum, request) => sum + request.prefillNanojoules, 0n)
    const decode = requests.reduce((sum, request) => sum + request.decodeNanojoules, 0n)
    const promptTokens = requests.reduce((sum, request) => sum + request.promptTokens, 0)
    const newTokens = requests.reduce((sum, request) => sum + request.newTokens, 0)
    const sorted = requests
      .map((request) => joules(request.prefillNanojoules + request.decodeNanojoules))
      .sort((left, right) => left - right)
    const quantile = (share: number): number | undefined =>
      sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(share * sorted.length) - 1))]
    const per = (nanojoules: bigint, tokens: number): number | undefined =>
      tokens > 0 ? joules(nanojoules) / tokens : undefined
    return {
      requests,
      sharedNanojoules: this.#shared,
      idleNanojoules: this.#idle,
      totalNanojoules: this.#total,
      medianJoules: quantile(0.5),
      p95Joules: quantile(0.95),
      joulesPerPromptToken: per(prefill, promptTokens),
      joulesPerNewToken: per(decode, newTokens),
      joulesPerNewTokenOverall: per(prefill + decode, newTokens),
      idleShare: this.#total > 0n ? Number(this.#idle) / Number(this.#total) : undefined,
    }
  }
}

function joules(nanojoules: bigint): number {
  return Number(nanojoules) / 1e9
}

function toEnergy(id: string, { prefill, decode, promptTokens, newTokens }: Balance): RequestEnergy {
  return { id, prefillNanojoules: prefill, decodeNanojoules: decode, promptTokens, newTokens }
}
