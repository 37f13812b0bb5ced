import type { CarbonFactor, CarbonForecastPoint, CarbonProvider } from '@swift/spec'
import { CarbonRequest, type CarbonRequestOptions, malformed, zoneUnknown } from './carbon-request.ts'

/** How the UK service is asked. */
export interface UkCarbonOptions extends CarbonRequestOptions {
  /** Default: env `UK_CARBON_URL`, else `https://api.carbonintensity.org.uk`. */
  readonly baseUrl?: string
}

interface Slot {
  readonly from?: unknown
  readonly to?: unknown
  readonly intensity?: { readonly forecast?: unknown; readonly actual?: unknown }
}

const slotMs = 1_800_000

/** Great Britain by the half hour, past and 48 hours ahead, from the Carbon Intensity API of the grid's operator; no key. */
export class UkCarbonProvider implements CarbonProvider {
  readonly id: string = 'uk-carbon-intensity'
  readonly #baseUrl: string
  readonly #request: CarbonRequest

  constructor(options: UkCarbonOptions = {}) {
    this.#baseUrl = options.baseUrl ?? process.env['UK_CARBON_URL'] ?? 'https://api.carbonintensity.org.uk'
    this.#request = new CarbonRequest(options)
  }

  /**
   * @param zone `GBR` or `GB`
   * @throws `ERR_CARBON_ZONE`, `ERR_CARBON_RATE_LIMIT`, `ERR_CARBON_UNREACHABLE`, `ERR_CARBON_RESPONSE`
   */
  async doFactor(zone: string, when: Date): Promise<CarbonFactor> {
    const [slot] = await this.#slots(zone, `intensity/${minute(when)}`)
    if (slot === undefined) throw malformed(askedFor(zone), `no half hour for ${when.toISOString()}`)
    return {
      zone: 'GBR',
      gramsPerKilowattHour: slot.gramsPerKilowattHour,
      kind: 'location-average',
      source: `Carbon Intensity API, National Energy System Operator (${slot.isForecast ? 'forecast' : 'actual'})`,
      validFor: new Date(slot.startUnixMs).toISOString(),
      licence: 'CC BY 4.0',
    }
  }

  /** Forecast by the half hour. */
  async doForecast(zone: string, from: Date, until: Date): Promise<readonly CarbonForecastPoint[]> {
    const slots = await this.#slots(zone, `intensity/${minute(from)}/fw48h`)
    return slots
      .map(({ startUnixMs, endUnixMs, gramsPerKilowattHour }) => ({ startUnixMs, endUnixMs, gramsPerKilowattHour }))
      .filter(({ startUnixMs, endUnixMs }) => endUnixMs > from.getTime() && startUnixMs < until.getTime())
  }

  async #slots(zone: string, path: string): Promise<readonly (CarbonForecastPoint & { isForecast: boolean })[]> {
    const asked = askedFor(zone)
    if (!['GB', 'GBR', 'UK'].includes(zone.toUpperCase())) {
      throw zoneUnknown(asked, zone, 'the service covers Great Britain only', 'Use the zone GBR, or another provider')
    }
    const answer = (await this.#request.get(new URL(`${this.#baseUrl}/${path}`), { asked })) as {
      readonly data?: unknown
    }
    if (!Array.isArray(answer.data)) throw malformed(asked, 'an answer without data')
    return answer.data.map((slot: Slot) => {
      const startUnixMs = Date.parse(typeof slot.from === 'string' ? slot.from : '')
      const { actual, forecast } = slot.intensity ?? {}
      const grams = typeof actual === 'number' ? actual : forecast
      if (typeof grams !== 'number' || !(grams >= 0) || Number.isNaN(startUnixMs)) {
        throw malformed(asked, `intensity ${JSON.stringify(slot.intensity)} from ${String(slot.from)}`)
      }
      return {
        startUnixMs,
        endUnixMs: startUnixMs + slotMs,
        gramsPerKilowattHour: grams,
        isForecast: typeof actual !== 'number',
      }
    })
  }
}

function askedFor(zone: string): string {
  return `The carbon intensity of ${zone} from the UK Carbon Intensity API`
}

/** The half hour's start in the service's spelling, so that the cache serves the whole half hour. */
function minute(when: Date): string {
  return `${new Date(Math.floor(when.getTime() / slotMs) * slotMs).toISOString().slice(0, 16)}Z`
}
