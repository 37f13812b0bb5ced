import { Buffer } from 'node:buffer'
import type { CarbonFactor, CarbonForecastPoint, CarbonProvider } from '@swift/spec'
import { SwiftError } from '@swift/spec'
import { CarbonRequest, type CarbonRequestOptions, keyRefused, malformed, zoneUnknown } from './carbon-request.ts'

/** How WattTime is asked. */
export interface WattTimeOptions extends CarbonRequestOptions {
  /** Default: env `WATTTIME_USERNAME`. */
  readonly username?: string
  /** Default: env `WATTTIME_PASSWORD`. */
  readonly password?: string
  /** Default: env `WATTTIME_URL`, else `https://api.watttime.org`. */
  readonly baseUrl?: string
}

const variables = 'WATTTIME_USERNAME and WATTTIME_PASSWORD'

/** 1 lb/MWh in g/kWh. */
const gramsPerPound = 453.592_37 / 1000

const stepMs = 300_000

/** A token lives for 30 minutes; it is renewed before. */
const tokenMs = 25 * 60_000

/**
 * Marginal carbon intensity (`co2_moer`) by five minutes, past and forecast, from the WattTime API v3. A marginal factor
 * says what one kWh more or less changes; it is not the average that inventories use, and reports carry its kind.
 */
export class WattTimeProvider implements CarbonProvider {
  readonly id: string = 'watttime'
  readonly #username: string | undefined
  readonly #password: string | undefined
  readonly #baseUrl: string
  readonly #request: CarbonRequest
  readonly #login: CarbonRequest
  #token: { readonly value: string; readonly until: number } | undefined

  constructor(options: WattTimeOptions = {}) {
    this.#username = options.username ?? process.env['WATTTIME_USERNAME']
    this.#password = options.password ?? process.env['WATTTIME_PASSWORD']
    this.#baseUrl = options.baseUrl ?? process.env['WATTTIME_URL'] ?? 'https://api.watttime.org'
    this.#request = new CarbonRequest(options)
    this.#login = new CarbonRequest({ ...options, cacheMs: 0 })
  }

  /**
   * @param zone a WattTime region such as `CAISO_NORTH`
   * @throws `ERR_CARBON_KEY`, `ERR_CARBON_ZONE`, `ERR_CARBON_RATE_LIMIT`, `ERR_CARBON_UNREACHABLE`, `ERR_CARBON_RESPONSE`
   */
  async doFactor(zone: string, when: Date): Promise<CarbonFactor> {
    const step = Math.floor(when.getTime() / stepMs) * stepMs
    // The last values appear some minutes late: the window holds several steps, the newest that had begun counts.
    const [start, end] = [new Date(step - 12 * stepMs), new Date(step + stepMs)]
    const points = await this.#points('historical', zone, { start: start.toISOString(), end: end.toISOString() })
    const last = points.filter(({ startUnixMs }) => startUnixMs <= when.getTime()).at(-1)
    if (last === undefined) {
      throw malformed(`The carbon intensity of ${zone} from WattTime`, `no value from ${start.toISOString()} on`)
    }
    return {
      zone,
      gramsPerKilowattHour: last.gramsPerKilowattHour,
      kind: 'location-marginal',
      source: 'WattTime API v3, co2_moer',
      validFor: new Date(last.startUnixMs).toISOString(),
      licence: 'WattTime terms of the account',
    }
  }

  /** Forecast by five minutes, up to 72 hours. */
  async doForecast(zone: string, from: Date, until: Date): Promise<readonly CarbonForecastPoint[]> {
    const hours = Math.min(72, Math.max(1, Math.ceil((until.getTime() - Date.now()) / 3_600_000)))
    const points = await this.#points('forecast', zone, { horizon_hours: String(hours) })
    return points.filter(({ startUnixMs, endUnixMs }) => endUnixMs > from.getTime() && startUnixMs < until.getTime())
  }

  async #points(
    what: 'historical' | 'forecast',
    zone: string,
    query: Readonly<Record<string, string>>,
  ): Promise<readonly CarbonForecastPoint[]> {
    const asked = `The marginal carbon intensity of ${zone} from WattTime (${what})`
    const url = new URL(`${this.#baseUrl}/v3/${what}`)
    for (const [name, value] of Object.entries({ region: zone, signal_type: 'co2_moer', ...query })) {
      url.searchParams.set(name, value)
    }
    const ask = async (): Promise<unknown> =>
      this.#request.get(url, {
        asked,
        headers: { authorization: `Bearer ${await this.#tokenOf(asked)}` },
        refused: ({ status, body }) => {
          if (status === 401 || status === 403) {
            return keyRefused(asked, `the account was refused (status ${status}: ${body})`, variables)
          }
          return status === 400 || status === 404
            ? zoneUnknown(
                asked,
                zone,
                `the service refused the region (${body})`,
                'Use a region of the account, such as CAISO_NORTH',
              )
            : undefined
        },
      })
    let answer: unknown
    try {
      answer = await ask()
    } catch (error) {
      // The token may have ended before its time; one login decides whether the account has.
      if (!SwiftError.isInstance(error, 'ERR_CARBON_KEY') || this.#token === undefined) throw error
      this.#token = undefined
      answer = await ask()
    }
    return readPoints(asked, answer)
  }

  async #tokenOf(asked: string): Promise<string> {
    if (this.#token !== undefined && this.#token.until > performance.now()) return this.#token.value
    if (!this.#username || !this.#password) throw keyRefused(asked, 'no account', variables)
    const account = Buffer.from(`${this.#username}:${this.#password}`).toString('base64')
    const answer = (await this.#login.get(new URL(`${this.#baseUrl}/login`), {
      asked: 'Logging in at WattTime',
      headers: { authorization: `Basic ${account}` },
      refused: ({ status }) =>
        status === 401 || status === 403
          ? keyRefused('Logging in at WattTime', `the account was refused (status ${status})`, variables)
          : undefined,
    })) as { readonly token?: unknown }
    if (typeof answer.token !== 'string') throw malformed('Logging in at WattTime', 'an answer without a token')
    this.#token = { value: answer.token, until: performance.now() + tokenMs }
    return this.#token.value
  }
}

function readPoints(asked: string, answer: unknown): readonly CarbonForecastPoint[] {
  const { data, meta } = answer as { readonly data?: unknown; readonly meta?: { readonly units?: unknown } }
  if (!Array.isArray(data)) throw malformed(asked, 'an answer without data')
  if (meta?.units !== undefined && meta.units !== 'lbs_co2_per_mwh') {
    throw malformed(asked, `values in ${String(meta.units)} instead of lbs_co2_per_mwh`)
  }
  return data.map((entry: { readonly point_time?: unknown; readonly value?: unknown }) => {
    const startUnixMs = Date.parse(typeof entry.point_time === 'string' ? entry.point_time : '')
    if (typeof entry.value !== 'number' || Number.isNaN(startUnixMs)) {
      throw malformed(asked, `value ${String(entry.value)} at ${String(entry.point_time)}`)
    }
    return {
      startUnixMs,
      endUnixMs: startUnixMs + stepMs,
      gramsPerKilowattHour: Math.round(entry.value * gramsPerPound * 1000) / 1000,
    }
  })
}
