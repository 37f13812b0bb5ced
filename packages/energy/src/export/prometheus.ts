import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { LedgerTotals } from '@swift/spec'
import type { Ledger } from '../ledger.ts'

/** The content type of the text format. */
const contentType = 'text/plain; version=0.0.4; charset=utf-8'

function label(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}

function labels(values: Readonly<Record<string, string>>): string {
  const parts = Object.entries(values).map(([name, value]) => `${name}="${label(value)}"`)
  return `{${parts.join(',')}}`
}

/** Nanojoules as joules without passing through a float that would round a sum of years. */
function joules(nanojoules: bigint): string {
  const digits = nanojoules.toString().padStart(10, '0')
  return `${digits.slice(0, -9)}.${digits.slice(-9)}`
}

/**
 * A ledger in the text format of Prometheus: counters of joules by source, class and account, gaps, and one info line
 * for each source. Measured and modelled differ by the label `class`; a query that sums over it says so itself.
 */
export function prometheusText(totals: LedgerTotals): string {
  const { runId, entries, sources, gaps, durationNanoseconds } = totals
  const byAccount = new Map<string, bigint>()
  for (const { source, energyClass, kind, path, nanojoules } of entries) {
    const key = labels({ run: runId, source, class: energyClass, account: kind, path })
    byAccount.set(key, (byAccount.get(key) ?? 0n) + nanojoules)
  }
  const gapSeconds = new Map<string, bigint>()
  for (const { source, durationNanoseconds: length } of gaps) {
    gapSeconds.set(source, (gapSeconds.get(source) ?? 0n) + length)
  }
  return [
    '# HELP swift_energy_joules_total Energy by source and account.',
    '# TYPE swift_energy_joules_total counter',
    ...[...byAccount].map(([key, nanojoules]) => `swift_energy_joules_total${key} ${joules(nanojoules)}`),
    '# HELP swift_energy_metered_seconds_total Time covered by the ledger.',
    '# TYPE swift_energy_metered_seconds_total counter',
    `swift_energy_metered_seconds_total${labels({ run: runId })} ${joules(durationNanoseconds)}`,
    '# HELP swift_energy_gap_seconds_total Time without a usable reading.',
    '# TYPE swift_energy_gap_seconds_total counter',
    ...[...gapSeconds].map(
      ([source, length]) => `swift_energy_gap_seconds_total${labels({ run: runId, source })} ${joules(length)}`,
    ),
    '# HELP swift_energy_source_info What a source is and how it is used.',
    '# TYPE swift_energy_source_info gauge',
    ...sources.map(
      ({ id, kind, scope, state, provenance, relativeUncertainty }) =>
        `swift_energy_source_info${labels({ source: id, kind, scope, state, provenance, uncertainty: String(relativeUncertainty) })} 1`,
    ),
    '',
  ].join('\n')
}

/** Serves an open ledger to Prometheus. Listens on the loopback only: joules tell what a machine does. */
export class PrometheusEndpoint implements AsyncDisposable {
  readonly #server: Server

  private constructor(server: Server) {
    this.#server = server
  }

  /**
   * Begins to listen.
   * @param port 0 takes a free one. Default 0
   */
  static async start(ledger: Ledger, { port = 0 }: { readonly port?: number } = {}): Promise<PrometheusEndpoint> {
    // Loaded here: it takes longer than all else a run imports, and few runs are scraped.
    const { createServer } = await import('node:http')
    const server = createServer((request, response) => {
      const { pathname } = new URL(request.url ?? '/', 'http://localhost')
      if (request.method !== 'GET' || pathname !== '/metrics') {
        response.writeHead(404, { 'content-type': 'text/plain' }).end('GET /metrics\n')
        return
      }
      try {
        response.writeHead(200, { 'content-type': contentType }).end(prometheusText(ledger.totals()))
      } catch (error) {
        response
          .writeHead(500, { 'content-type': 'text/plain' })
          .end(`${error instanceof Error ? error.message : String(error)}\n`)
      }
    })
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.listen(port, '127.0.0.1', resolve)
    })
    // The endpoint alone does not keep a finished run alive.
    server.unref()
    return new PrometheusEndpoint(server)
  }

  /** Where to scrape. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/metrics`
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>((resolve) => this.#server.close(() => resolve()))
  }
}
