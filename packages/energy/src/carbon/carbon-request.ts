import { setTimeout as sleep } from 'node:timers/promises'
import { SwiftError } from '@swift/spec'

/** How a carbon service is asked. */
export interface CarbonRequestOptions {
  /** Time for one answer in milliseconds. Default 10,000. */
  readonly timeoutMs?: number
  /** Further tries after a failure that may pass: no connection, 5xx, 429. Default 2. */
  readonly retries?: number
  /** Time before the first further try in milliseconds; doubles each time. Default 500. */
  readonly backoffMs?: number
  /** How long an answer is used again, in milliseconds. Default 300,000. */
  readonly cacheMs?: number
}

/** The longest time a service may make a run wait between two tries. */
const longestWaitMs = 30_000

/** An answer that is no success, for the provider to interpret. */
export interface CarbonRefusal {
  readonly status: number
  readonly body: string
}

/** What a request is for; goes into errors. */
export interface CarbonQuestion {
  /** Noun phrase, such as `The carbon intensity of DE from Electricity Maps`. */
  readonly asked: string
  readonly headers?: Readonly<Record<string, string>>
  /** Turns a 4xx other than 429 into an error; `undefined` lets the general one be thrown. */
  readonly refused?: (refusal: CarbonRefusal) => SwiftError | undefined
}

/**
 * Asks a carbon service for JSON: with a time limit, further tries where the failure may pass, and a cache, so that a
 * report per step does not become a request per step.
 */
export class CarbonRequest {
  readonly #timeoutMs: number
  readonly #retries: number
  readonly #backoffMs: number
  readonly #cacheMs: number
  readonly #cache = new Map<string, { readonly until: number; readonly answer: Promise<unknown> }>()

  constructor({ timeoutMs = 10_000, retries = 2, backoffMs = 500, cacheMs = 300_000 }: CarbonRequestOptions = {}) {
    this.#timeoutMs = timeoutMs
    this.#retries = retries
    this.#backoffMs = backoffMs
    this.#cacheMs = cacheMs
  }

  /**
   * @param url what to get
   * @throws `ERR_CARBON_UNREACHABLE`, `ERR_CARBON_RATE_LIMIT`, `ERR_CARBON_RESPONSE`, and what `refused` gives
   */
  async get(url: URL, question: CarbonQuestion): Promise<unknown> {
    const key = url.href
    const known = this.#cache.get(key)
    if (known !== undefined && known.until > performance.now()) return known.answer
    const answer = this.#ask(url, question)
    this.#cache.set(key, { until: performance.now() + this.#cacheMs, answer })
    // A failure is not an answer: the next report asks again.
    answer.catch(() => this.#cache.delete(key))
    return answer
  }

  async #ask(url: URL, question: CarbonQuestion): Promise<unknown> {
    for (let attempt = 0; ; attempt++) {
      const isLast = attempt >= this.#retries
      let response: Response
      try {
        response = await fetch(url, {
          headers: { accept: 'application/json', ...question.headers },
          signal: AbortSignal.timeout(this.#timeoutMs),
        })
      } catch (cause) {
        if (isLast) throw unreachable(url, question, cause instanceof Error ? reasonOf(cause) : String(cause), cause)
        await sleep(this.#backoffMs * 2 ** attempt)
        continue
      }
      if (response.ok) return readJson(response, url, question)
      const body = (await response.text().catch(() => '')).slice(0, 300)
      const { status } = response
      if (status === 429 || status >= 500) {
        if (isLast) throw status === 429 ? rateLimited(url, question) : unreachable(url, question, `status ${status}`)
        const wait = Number(response.headers.get('retry-after') ?? Number.NaN) * 1000
        const backoff = this.#backoffMs * 2 ** attempt
        await sleep(Number.isFinite(wait) ? Math.min(wait, longestWaitMs) : backoff)
        continue
      }
      throw (
        question.refused?.({ status, body }) ??
        new SwiftError({
          code: 'ERR_CARBON_RESPONSE',
          asked: question.asked,
          found: `${url.host} answered with status ${status}${body === '' ? '' : `: ${body}`}`,
          remedy: 'Check the zone and the base URL, or use the built-in yearly factors',
          details: { status, host: url.host },
        })
      )
    }
  }
}

/** `fetch failed` hides what failed in its cause. */
function reasonOf(error: Error): string {
  if (error.name === 'TimeoutError') return 'no answer in time'
  return error.cause instanceof Error ? error.cause.message || String(error.cause) : error.message
}

async function readJson(response: Response, url: URL, { asked }: CarbonQuestion): Promise<unknown> {
  try {
    return await response.json()
  } catch (cause) {
    throw malformed(asked, `an answer of ${url.host} that is not JSON`, cause)
  }
}

/** The answer does not look as documented. */
export function malformed(asked: string, found: string, cause?: unknown): SwiftError {
  return new SwiftError({
    code: 'ERR_CARBON_RESPONSE',
    asked,
    found,
    remedy: 'Check the base URL; if it is right, the service has changed and the provider must follow',
    cause,
  })
}

function unreachable(url: URL, { asked }: CarbonQuestion, found: string, cause?: unknown): SwiftError {
  return new SwiftError({
    code: 'ERR_CARBON_UNREACHABLE',
    asked,
    found: `${url.host}: ${found}`,
    remedy: 'Check the network, or use the built-in yearly factors',
    cause,
    details: { host: url.host },
  })
}

function rateLimited(url: URL, { asked }: CarbonQuestion): SwiftError {
  return new SwiftError({
    code: 'ERR_CARBON_RATE_LIMIT',
    asked,
    found: `${url.host} refuses more requests for now`,
    remedy: 'Ask less often, raise the plan of the key, or use the built-in yearly factors',
    details: { host: url.host },
  })
}

/** The key is missing, wrong or expired. */
export function keyRefused(asked: string, found: string, variables: string): SwiftError {
  return new SwiftError({
    code: 'ERR_CARBON_KEY',
    asked,
    found,
    remedy: `Set ${variables} to a key that is valid now, or use the built-in yearly factors`,
  })
}

/** The service does not know the zone. */
export function zoneUnknown(asked: string, zone: string, found: string, remedy: string): SwiftError {
  return new SwiftError({ code: 'ERR_CARBON_ZONE', asked, found, remedy, details: { zone } })
}
