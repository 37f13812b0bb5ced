import { X509Certificate } from 'node:crypto'
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { hostname } from 'node:os'
import { fakeCertificate, fakeCertificateKey } from './fake-certificate.ts'
import { type FakeReading, type FakeRedfishShape, fakeRedfishResource } from './fake-redfish-resources.ts'
import { PowerTrace } from './power-trace.ts'

/** What a fake management controller measures and how it shows it. */
export interface FakeRedfishOptions {
  /**
   * Resources it has: `environment` EnvironmentMetrics with a power sensor and a board inside the chassis; `energy`
   * EnvironmentMetrics with a counter; `legacy` the older Power; `sensors` Sensors alone; `two-nodes` two chassis of two
   * machines, the second of which is this host. Default `environment`.
   */
  readonly shape?: FakeRedfishShape
  /** Power of the machine from the start of the server on. Default: 250 W. */
  readonly trace?: PowerTrace
  /** Readings are taken this often and cached in between. Default 0: at each request. */
  readonly sensingMs?: number
  /** Whether sensors state that interval. Default true, where it is not 0. */
  readonly statesInterval?: boolean
  /** Accuracy that the sensors state, percent. Default: none stated. */
  readonly accuracyPercent?: number
  /** Digits of `EnergykWh` behind the point. Default 9: steps of 3.6 mJ. */
  readonly energyDecimals?: number
  /** Ways in. Default `sessions`: X-Auth-Token of a session, or basic; `basic`: no sessions; `none`: no credentials asked. */
  readonly authentication?: 'sessions' | 'basic' | 'none'
  /** HTTPS with a certificate that only itself has signed. Default false. */
  readonly tls?: boolean
}

/**
 * A management controller's Redfish service on a loopback port, driven by a power trace whose integral is exact. It can be slow,
 * stuck, down, silent, and forget its sessions.
 *
 * ```ts
 * await using server = await FakeRedfishServer.start({ shape: 'legacy', trace })
 * const ledger = await Ledger.open(folder, { redfish: { url: server.url, user: server.user, password: server.password } })
 * ```
 */
export class FakeRedfishServer implements AsyncDisposable {
  /** The name that is valid. */
  readonly user: string = 'operator'
  /** The password that is valid; see {@link expireCredentials}. */
  password: string = 'fake-password'
  /** Requests so far as `GET /path`, oldest first. */
  readonly requests: string[] = []
  readonly #server: Server
  readonly #options: FakeRedfishOptions
  readonly #trace: PowerTrace
  readonly #startedMs: number = performance.now()
  readonly #startedUnixMs: number = Date.now()
  readonly #sessions = new Set<string>()
  #sessionCount = 0
  #status: number | undefined
  #silent = false
  #delayMs = 0
  #stuckMs: number | undefined

  private constructor(options: FakeRedfishOptions) {
    this.#options = options
    this.#trace = options.trace ?? PowerTrace.constant(250)
    const listener: RequestListener = (request, response) => this.#receive(request, response)
    const credentials = { key: fakeCertificateKey, cert: fakeCertificate }
    this.#server = options.tls === true ? createTlsServer(credentials, listener) : createServer(listener)
  }

  /** Begins to listen on a free loopback port; the trace begins now. */
  static async start(options: FakeRedfishOptions = {}): Promise<FakeRedfishServer> {
    const fake = new FakeRedfishServer(options)
    await new Promise<void>((resolve) => fake.#server.listen(0, '127.0.0.1', resolve))
    return fake
  }

  /** Address of the service. */
  get url(): string {
    const { port } = this.#server.address() as AddressInfo
    return `${this.#options.tls === true ? 'https' : 'http'}://127.0.0.1:${port}`
  }

  /** PEM text of the certificate, for a CA file. */
  get certificate(): string {
    return fakeCertificate
  }

  /** SHA-256 of the certificate, as a controller's page shows it. */
  get fingerprint(): string {
    return new X509Certificate(fakeCertificate).fingerprint256
  }

  /** Sessions that were begun and not ended. */
  get openSessions(): number {
    return this.#sessions.size
  }

  /** Nanojoules of the trace up to now, exactly. */
  get nanojoules(): bigint {
    return this.#trace.nanojoulesUntil(this.#elapsedNs(performance.now()))
  }

  /** Forgets its sessions, as after their timeout or a restart; the account stays valid. */
  endSessions(): void {
    this.#sessions.clear()
  }

  /** Makes the account invalid. */
  expireCredentials(): void {
    this.password = 'another-password'
    this.endSessions()
  }

  /** Answers everything with a status until {@link recover}, such as 503. */
  failWith(status: number): void {
    this.#status = status
  }

  /** Takes requests and never answers, until {@link recover}. */
  fallSilent(): void {
    this.#silent = true
  }

  /** Answers this much later from now on. */
  delay(milliseconds: number): void {
    this.#delayMs = milliseconds
  }

  /** Repeats its last reading with its time, as a controller whose sensor has hung, until {@link recover}. */
  stick(): void {
    this.#stuckMs = performance.now()
  }

  /** Ends {@link failWith}, {@link fallSilent}, {@link delay} and {@link stick}. */
  recover(): void {
    this.#status = undefined
    this.#silent = false
    this.#delayMs = 0
    this.#stuckMs = undefined
  }

  #elapsedNs(nowMs: number): bigint {
    return BigInt(Math.max(0, Math.round((nowMs - this.#startedMs) * 1e6)))
  }

  #reading(): FakeReading {
    const { sensingMs = 0 } = this.#options
    const elapsedMs = (this.#stuckMs ?? performance.now()) - this.#startedMs
    const takenMs = sensingMs > 0 ? Math.floor(elapsedMs / sensingMs) * sensingMs : elapsedMs
    const ns = BigInt(Math.round(takenMs * 1e6))
    return {
      watts: this.#trace.wattsAt(ns),
      joules: Number(this.#trace.nanojoulesUntil(ns)) / 1e9,
      time: new Date(this.#startedUnixMs + takenMs).toISOString(),
    }
  }

  #isAllowed(request: IncomingMessage): boolean {
    const { authentication = 'sessions' } = this.#options
    if (authentication === 'none') return true
    const { authorization, 'x-auth-token': token } = request.headers
    if (typeof token === 'string') return this.#sessions.has(token)
    return authorization === `Basic ${Buffer.from(`${this.user}:${this.password}`).toString('base64')}`
  }

  #receive(request: IncomingMessage, response: ServerResponse): void {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const { method = 'GET', url = '/' } = request
      this.requests.push(`${method} ${url}`)
      if (this.#silent) return
      setTimeout(() => this.#answer(request, response, Buffer.concat(chunks).toString('utf8')), this.#delayMs)
    })
  }

  #answer(request: IncomingMessage, response: ServerResponse, body: string): void {
    const send = (status: number, content: object, headers: Readonly<Record<string, string>> = {}): void => {
      response.writeHead(status, { 'content-type': 'application/json', ...headers })
      response.end(JSON.stringify(content))
    }
    const error = (status: number): void => send(status, { error: { code: 'Base.1.8.GeneralError' } })
    if (this.#status !== undefined) return error(this.#status)
    const { method = 'GET', url = '/' } = request
    const sessions = '/redfish/v1/SessionService/Sessions'
    if (url.startsWith(sessions)) {
      if ((this.#options.authentication ?? 'sessions') !== 'sessions') return error(404)
      if (method === 'DELETE') return error(this.#sessions.delete(url.slice(sessions.length + 1)) ? 200 : 404)
      const { UserName, Password } = JSON.parse(body) as { UserName?: unknown; Password?: unknown }
      if (UserName !== this.user || Password !== this.password) return error(401)
      const token = `session-${++this.#sessionCount}`
      this.#sessions.add(token)
      return send(201, { Id: token }, { 'x-auth-token': token, location: `${sessions}/${token}` })
    }
    // The root tells everyone where things are.
    if (url !== '/redfish/v1/' && !this.#isAllowed(request)) return error(401)
    const {
      sensingMs = 0,
      statesInterval = true,
      shape = 'environment',
      energyDecimals = 9,
      accuracyPercent,
    } = this.#options
    const resource = fakeRedfishResource(url, {
      shape,
      reading: this.#reading(),
      energyDecimals,
      accuracyPercent,
      sensingSeconds: sensingMs > 0 && statesInterval ? sensingMs / 1000 : undefined,
      hostName: hostname(),
    })
    return resource === undefined ? error(404) : send(200, resource)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}
