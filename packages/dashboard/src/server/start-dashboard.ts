import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { isIPv4, type AddressInfo } from 'node:net'
import { SwiftError } from '@swift/spec'
import { makeDocument } from '../document/make-document.ts'
import { pageFiles, type PageFiles } from '../document/page-files.ts'
import type { CarbonOptions } from '../read/read-energy.ts'
import { eventHeaders, refusal, sendAnswer, type Answer } from './answer.ts'
import { RunWatcher } from './run-watcher.ts'

/** How a dashboard is served. */
export interface DashboardOptions extends CarbonOptions {
  /** Folders of runs, of ledgers, or of several runs. Default: `runs` and `output` in the working folder. */
  readonly paths?: readonly string[]
  /** Address to listen at. Default `127.0.0.1`: this machine alone. There is no password. */
  readonly host?: string
  /** Port; 0 takes a free one. Default 7117. */
  readonly port?: number
  /** Shortest time between two looks at the folders, in milliseconds. Default 1000. */
  readonly periodMs?: number
}

const defaultPort = 7117
const heartbeatMs = 15_000

/** Whether only this machine reaches an address. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIPv4(host) && host.startsWith('127.'))
}

/** A page that is being served. */
export class DashboardServer implements AsyncDisposable {
  /** Where it is. */
  readonly url: string
  readonly #server: Server
  readonly #streams: Set<ServerResponse>

  /** @internal */
  constructor(server: Server, url: string, streams: Set<ServerResponse>) {
    this.#server = server
    this.url = url
    this.#streams = streams
  }

  /** Ends it, and the connections to it. */
  async close(): Promise<void> {
    for (const stream of this.#streams) stream.end()
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }

  /** As {@link close}. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** Names by which a browser may ask for a page of this machine; any other is a page elsewhere that was pointed here. */
function isOwnName(request: IncomingMessage, host: string): boolean {
  if (!isLoopback(host)) return true
  const name = (request.headers.host ?? '').replace(/:\d+$/, '').replace(/^\[|\]$/g, '')
  return isLoopback(name)
}

async function answerOf(path: string, watcher: RunWatcher, files: PageFiles): Promise<Answer> {
  if (path === '/') {
    const { html, policy } = makeDocument(await watcher.refresh(), files)
    return {
      status: 200,
      type: 'text/html; charset=utf-8',
      body: html,
      headers: { 'Content-Security-Policy': `${policy}; frame-ancestors 'none'` },
    }
  }
  if (path === '/data.json') {
    return { status: 200, type: 'application/json; charset=utf-8', body: JSON.stringify(await watcher.refresh()) }
  }
  if (path === '/export.html') {
    const data = { ...(await watcher.refresh()), mode: 'file' as const, madeUnixMs: Date.now() }
    return {
      status: 200,
      type: 'text/html; charset=utf-8',
      body: makeDocument(data, files).html,
      headers: { 'Content-Disposition': 'attachment; filename="joule-ledger.html"' },
    }
  }
  return refusal(404, 'ERR_DASHBOARD_PATH', 'there are /, /data.json, /events and /export.html, and no files')
}

function stream(request: IncomingMessage, response: ServerResponse, watcher: RunWatcher): void {
  response.writeHead(200, eventHeaders)
  if (request.method === 'HEAD') {
    response.end()
    return
  }
  const send = (data: unknown): void => {
    // A reader who does not keep up gets the next state whole; there is nothing to catch up on.
    if (!response.writableNeedDrain) response.write(`event: data\ndata: ${JSON.stringify(data)}\n\n`)
  }
  response.write('retry: 2000\n\n')
  const stop = watcher.listen(send)
  const heartbeat = setInterval(() => response.write(': still here\n\n'), heartbeatMs)
  response.on('close', () => {
    clearInterval(heartbeat)
    stop()
  })
  // The page came with data; whoever comes back after a break needs what happened meanwhile.
  void watcher.refresh().then(send)
}

async function listen(server: Server, host: string, port: number): Promise<number> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => resolve())
  })
  return (server.address() as AddressInfo).port
}

function listenError(host: string, port: number, cause: unknown): SwiftError {
  const code = (cause as NodeJS.ErrnoException).code ?? String(cause)
  return new SwiftError({
    code: 'ERR_DASHBOARD_ADDRESS',
    asked: `The dashboard at ${host}:${port}`,
    found: code === 'EADDRINUSE' ? 'another program listens there' : `it cannot listen there (${code})`,
    remedy: 'Choose another port with --port, or 0 for any free one; --host takes an address of this machine',
    cause,
  })
}

/**
 * Serves the page over runs, with news while they are on. Everything it answers is read-only, and no path of a request
 * leads to a file.
 *
 * ```ts
 * await using dashboard = await startDashboard({ paths: ['runs/first'], port: 0 })
 * console.log(dashboard.url)
 * ```
 * @throws `ERR_RUN_MISSING`, `ERR_RUN_NONE`, `ERR_DASHBOARD_ADDRESS`, `ERR_DASHBOARD_PAGE`
 */
export async function startDashboard(options: DashboardOptions = {}): Promise<DashboardServer> {
  const { paths = [], host = '127.0.0.1', port = defaultPort, periodMs = 1000, zone, pue } = options
  const files = await pageFiles()
  const carbon: CarbonOptions = { ...(zone === undefined ? {} : { zone }), ...(pue === undefined ? {} : { pue }) }
  const watcher = await RunWatcher.open({ paths, carbon, periodMs })
  const streams = new Set<ServerResponse>()
  const server = createServer((request, response) => {
    void respond(request, response).catch((error: unknown) => {
      const message = error instanceof Error ? error.message : String(error)
      if (response.headersSent) response.destroy()
      else sendAnswer(request, response, refusal(500, 'ERR_DASHBOARD_INTERNAL', message))
    })
  })
  async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!isOwnName(request, host)) {
      sendAnswer(request, response, refusal(403, 'ERR_DASHBOARD_HOST', 'ask for it as localhost or 127.0.0.1'))
      return
    }
    if (request.method !== 'GET' && request.method !== 'HEAD') {
      const refused = refusal(405, 'ERR_DASHBOARD_METHOD', 'it can only be read', { Allow: 'GET, HEAD' })
      sendAnswer(request, response, refused)
      return
    }
    const path = (request.url ?? '/').replace(/[?#].*$/s, '')
    if (path === '/events') {
      streams.add(response)
      response.on('close', () => streams.delete(response))
      stream(request, response, watcher)
      return
    }
    sendAnswer(request, response, await answerOf(path, watcher, files))
  }
  try {
    const taken = await listen(server, host, port)
    const shown = host.includes(':') ? `[${host}]` : host
    return new DashboardServer(server, `http://${shown}:${taken}/`, streams)
  } catch (cause) {
    throw listenError(host, port, cause)
  }
}
