import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What a fake carbon service knows. */
export interface FakeCarbonOptions {
  /** Zones that exist. Default `DE`, `CAISO_NORTH`; the UK service has one zone of its own. */
  readonly zones?: readonly string[]
  /** Grams per kWh at an instant. Default: 300 by day and 100 from 2 to 4 o'clock UTC. */
  readonly gramsAt?: (unixMs: number) => number
  /** Now, for `latest` and forecasts. Default: the clock. */
  readonly now?: () => number
  /** How far the steps of WattTime's forecast lie behind whole five minutes, so that a test need not wait for one. Default 0. */
  readonly stepPhaseMs?: number | (() => number)
}

const hourMs = 3_600_000
const halfHourMs = 1_800_000
const fiveMinutesMs = 300_000

/**
 * Electricity Maps, WattTime and the UK Carbon Intensity API on a loopback port, with their paths, keys, errors and
 * limits of requests, for tests without a network.
 *
 * ```ts
 * await using server = await FakeCarbonServer.start()
 * const provider = new ElectricityMapsProvider({ baseUrl: server.electricityMapsUrl, token: server.token })
 * ```
 */
export class FakeCarbonServer implements AsyncDisposable {
  /** The Electricity Maps token that is valid. */
  token: string = 'fake-token'
  /** The WattTime account that is valid. */
  account: { username: string; password: string } = { username: 'user', password: 'secret' }
  /** Paths asked for, oldest first. */
  readonly requests: string[] = []
  readonly #server: Server
  readonly #zones: ReadonlySet<string>
  readonly #gramsAt: (unixMs: number) => number
  readonly #now: () => number
  readonly #stepPhaseMs: () => number
  #bearer = 0
  #failures: { readonly status: number; readonly retryAfterSeconds: number | undefined }[] = []
  #silent = false

  private constructor(server: Server, options: FakeCarbonOptions) {
    this.#server = server
    this.#zones = new Set(options.zones ?? ['DE', 'CAISO_NORTH'])
    this.#gramsAt =
      options.gramsAt ?? ((unixMs) => (Math.floor((unixMs % (24 * hourMs)) / hourMs / 2) === 1 ? 100 : 300))
    this.#now = options.now ?? Date.now
    const { stepPhaseMs = 0 } = options
    this.#stepPhaseMs = typeof stepPhaseMs === 'number' ? () => stepPhaseMs : stepPhaseMs
  }

  /** Begins to listen on a free loopback port. */
  static async start(options: FakeCarbonOptions = {}): Promise<FakeCarbonServer> {
    const server = createServer((request, response) => fake.#answer(request, response))
    const fake = new FakeCarbonServer(server, options)
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    return fake
  }

  get #origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Base URL that behaves like Electricity Maps. */
  get electricityMapsUrl(): string {
    return `${this.#origin}/em/v3`
  }

  /** Base URL that behaves like WattTime. */
  get wattTimeUrl(): string {
    return `${this.#origin}/wt`
  }

  /** Base URL that behaves like the UK Carbon Intensity API. */
  get ukUrl(): string {
    return `${this.#origin}/uk`
  }

  /** Answers the next `count` requests with a status, such as 429 with a Retry-After. */
  failNext(count: number, status: number, retryAfterSeconds?: number): void {
    for (let index = 0; index < count; index++) this.#failures.push({ status, retryAfterSeconds })
  }

  /** Makes the key and the account invalid, as when they expire. */
  expireKeys(): void {
    this.token = 'another-token'
    this.account = { username: 'nobody', password: 'nothing' }
    this.#bearer += 1
  }

  /** Ends the WattTime sessions; the account stays valid. */
  endSessions(): void {
    this.#bearer += 1
  }

  /** From now on takes requests and never answers. */
  fallSilent(): void {
    this.#silent = true
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '/', this.#origin)
    this.requests.push(url.pathname)
    if (this.#silent) return
    const send = (status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): void => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers })
      response.end(JSON.stringify(body))
    }
    const failure = this.#failures.shift()
    if (failure !== undefined) {
      const { status, retryAfterSeconds } = failure
      return send(
        status,
        { error: `status ${status}` },
        retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) },
      )
    }
    const [, service, ...rest] = url.pathname.split('/')
    if (service === 'em') return this.#electricityMaps(rest.slice(1).join('/'), url, request, send)
    if (service === 'wt') return this.#wattTime(rest.join('/'), url, request, send)
    if (service === 'uk') return this.#uk(rest, send)
    return send(404, { error: 'not found' })
  }

  #electricityMaps(path: string, url: URL, request: IncomingMessage, send: Send): void {
    if (request.headers['auth-token'] !== this.token) return send(401, { message: 'Invalid auth-token' })
    const zone = url.searchParams.get('zone') ?? ''
    if (!this.#zones.has(zone)) return send(404, { error: `Zone "${zone}" does not exist.` })
    const entry = (unixMs: number): object => ({
      carbonIntensity: this.#gramsAt(unixMs),
      datetime: new Date(unixMs).toISOString(),
    })
    const hour = Math.floor(this.#now() / hourMs) * hourMs
    const common = { zone, updatedAt: new Date(this.#now()).toISOString() }
    switch (path) {
      case 'carbon-intensity/latest':
        return send(200, { ...common, ...entry(hour), emissionFactorType: 'lifecycle', isEstimated: false })
      case 'carbon-intensity/past': {
        const at = Date.parse(url.searchParams.get('datetime') ?? '')
        if (Number.isNaN(at)) return send(400, { error: 'datetime is missing' })
        return send(200, { ...common, ...entry(Math.floor(at / hourMs) * hourMs), isEstimated: true })
      }
      case 'carbon-intensity/forecast':
        return send(200, {
          ...common,
          forecast: Array.from({ length: 24 }, (_, index) => entry(hour + index * hourMs)),
        })
      default:
        return send(404, { error: 'no such path' })
    }
  }

  #wattTime(path: string, url: URL, request: IncomingMessage, send: Send): void {
    const { authorization = '' } = request.headers
    const bearer = `session-${this.#bearer}`
    if (path === 'login') {
      const { username, password } = this.account
      const expected = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
      return authorization === expected ? send(200, { token: bearer }) : send(403, { error: 'bad login' })
    }
    if (authorization !== `Bearer ${bearer}`) return send(401, { error: 'invalid token' })
    const region = url.searchParams.get('region') ?? ''
    if (!this.#zones.has(region)) return send(400, { error: `Invalid region ${region}` })
    const range = (start: number, end: number): object => ({
      data: Array.from({ length: Math.max(0, Math.floor((end - start) / fiveMinutesMs)) }, (_, index) => {
        const at = start + index * fiveMinutesMs
        return { point_time: new Date(at).toISOString(), value: this.#gramsAt(at) / 0.453_592_37 }
      }),
      meta: { region, signal_type: 'co2_moer', units: 'lbs_co2_per_mwh', data_point_period_seconds: 300 },
    })
    if (path === 'v3/historical') {
      const start = Date.parse(url.searchParams.get('start') ?? '')
      const end = Date.parse(url.searchParams.get('end') ?? '')
      return Number.isNaN(start + end) ? send(400, { error: 'start and end' }) : send(200, range(start, end))
    }
    if (path === 'v3/forecast') {
      const phase = this.#stepPhaseMs()
      const start = Math.floor((this.#now() - phase) / fiveMinutesMs) * fiveMinutesMs + phase
      return send(200, range(start, start + Number(url.searchParams.get('horizon_hours') ?? 24) * hourMs))
    }
    return send(404, { error: 'no such path' })
  }

  #uk([what, from = '', span]: readonly string[], send: Send): void {
    const at = Date.parse(from)
    if (what !== 'intensity' || Number.isNaN(at)) {
      return send(400, { error: { code: '400 Bad Request', message: 'Please enter a valid from datetime' } })
    }
    const start = Math.floor(at / halfHourMs) * halfHourMs
    const count = span === 'fw48h' ? 96 : span === 'fw24h' ? 48 : 1
    return send(200, {
      data: Array.from({ length: count }, (_, index) => {
        const slot = start + index * halfHourMs
        const grams = this.#gramsAt(slot)
        return {
          from: `${new Date(slot).toISOString().slice(0, 16)}Z`,
          to: `${new Date(slot + halfHourMs).toISOString().slice(0, 16)}Z`,
          intensity: { forecast: grams, actual: slot + halfHourMs <= this.#now() ? grams : null, index: 'moderate' },
        }
      }),
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}

type Send = (status: number, body: unknown, headers?: Readonly<Record<string, string>>) => void
