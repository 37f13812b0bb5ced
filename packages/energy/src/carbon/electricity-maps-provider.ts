import type { CarbonFactor, CarbonForecastPoint, CarbonProvider } from '@swift/spec'
import { CarbonRequest, type CarbonRequestOptions, keyRefused, malformed, zoneUnknown } from './carbon-request.ts'
import { alpha2OfAlpha3 } from './country-codes.ts'

/** How Electricity Maps is asked. */
export interface ElectricityMapsOptions extends CarbonRequestOptions {
  /** Default: env `ELECTRICITY_MAPS_TOKEN`. */
  readonly token?: string
  /** Default: env `ELECTRICITY_MAPS_URL`, else `https://api.electricitymaps.com/v3`. */
  readonly baseUrl?: string
}

interface Intensity {
  readonly carbonIntensity?: unknown
  readonly datetime?: unknown
  readonly isEstimated?: unknown
}

const hourMs = 3_600_000

/** Average carbon intensity by zone and hour, past and forecast, from the Electricity Maps API v3. */
export class ElectricityMapsProvider implements CarbonProvider {
  readonly id: string = 'electricity-maps'
  readonly #token: string | undefined
  readonly #baseUrl: string
  readonly #request: CarbonRequest

  constructor(options: ElectricityMapsOptions = {}) {
    this.#token = options.token ?? process.env['ELECTRICITY_MAPS_TOKEN']
    this.#baseUrl = options.baseUrl ?? process.env['ELECTRICITY_MAPS_URL'] ?? 'https://api.electricitymaps.com/v3'
    this.#request = new CarbonRequest(options)
  }

  /**
   * @param zone an Electricity Maps zone such as `DE` or `US-CAL-CISO`; alpha-3 codes of the built-in table work too
   * @throws `ERR_CARBON_KEY`, `ERR_CARBON_ZONE`, `ERR_CARBON_RATE_LIMIT`, `ERR_CARBON_UNREACHABLE`, `ERR_CARBON_RESPONSE`
   */
  async doFactor(zone: string, when: Date): Promise<CarbonFactor> {
    // Whole hours, so that the cache works: the service has no finer past. Its latest value is that of this hour.
    const hour = new Date(Math.floor(when.getTime() / hourMs) * hourMs)
    const isLatest = Date.now() < hour.getTime() + hourMs
    const { asked, key, answer } = await this.#get(
      isLatest ? 'latest' : 'past',
      zone,
      isLatest ? {} : { datetime: hour.toISOString() },
    )
    const { grams, at } = readIntensity(asked, answer as Intensity)
    return {
      zone: key,
      gramsPerKilowattHour: grams,
      kind: 'location-average',
      source: `Electricity Maps API v3 (life cycle${(answer as Intensity).isEstimated === true ? ', estimated' : ''})`,
      validFor: at.toISOString(),
      licence: 'Electricity Maps terms of the key',
    }
  }

  /** Forecast by the hour, as far as the plan of the key reaches. */
  async doForecast(zone: string, from: Date, until: Date): Promise<readonly CarbonForecastPoint[]> {
    const { asked, answer } = await this.#get('forecast', zone, {})
    const { forecast } = answer as { readonly forecast?: unknown }
    if (!Array.isArray(forecast)) throw malformed(asked, 'an answer without a forecast')
    const points = forecast.map((entry) => readIntensity(asked, entry as Intensity))
    return points
      .map(({ grams, at }, index) => ({
        startUnixMs: at.getTime(),
        endUnixMs: points[index + 1]?.at.getTime() ?? at.getTime() + hourMs,
        gramsPerKilowattHour: grams,
      }))
      .filter(({ startUnixMs, endUnixMs }) => endUnixMs > from.getTime() && startUnixMs < until.getTime())
  }

  async #get(
    what: 'latest' | 'past' | 'forecast',
    zone: string,
    query: Readonly<Record<string, string>>,
  ): Promise<{ readonly asked: string; readonly key: string; readonly answer: unknown }> {
    const key = alpha2OfAlpha3[zone.toUpperCase()] ?? zone
    const asked = `The carbon intensity of ${key} from Electricity Maps (${what})`
    if (this.#token === undefined || this.#token === '') {
      throw keyRefused(asked, 'no key', 'ELECTRICITY_MAPS_TOKEN')
    }
    const url = new URL(`${this.#baseUrl}/carbon-intensity/${what}`)
    for (const [name, value] of Object.entries({ zone: key, ...query })) url.searchParams.set(name, value)
    const answer = await this.#request.get(url, {
      asked,
      headers: { 'auth-token': this.#token },
      refused: ({ status, body }) => {
        if (status === 401 || status === 403) {
          return keyRefused(asked, `the key was refused (status ${status}: ${body})`, 'ELECTRICITY_MAPS_TOKEN')
        }
        return status === 404 || status === 400
          ? zoneUnknown(
              asked,
              key,
              `the service knows no such zone (${body})`,
              'Use a zone key of app.electricitymaps.com, such as DE or US-CAL-CISO',
            )
          : undefined
      },
    })
    return { asked, key, answer }
  }
}

function readIntensity(asked: string, { carbonIntensity, datetime }: Intensity): { grams: number; at: Date } {
  const at = new Date(typeof datetime === 'string' ? datetime : Number.NaN)
  if (typeof carbonIntensity !== 'number' || !(carbonIntensity >= 0) || Number.isNaN(at.getTime())) {
    throw malformed(asked, `carbonIntensity ${String(carbonIntensity)} at ${String(datetime)}`)
  }
  return { grams: carbonIntensity, at }
}
