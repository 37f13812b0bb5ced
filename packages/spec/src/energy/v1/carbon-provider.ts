/** What kind of grid factor a number is; they answer different questions and are never mixed. */
export type CarbonFactorKind = 'location-average' | 'location-marginal' | 'market'

/** A grid carbon factor with everything a reader needs to judge it. */
export interface CarbonFactor {
  /** Zone the factor is for: ISO 3166 alpha-3 country code, `WORLD`, or the provider's own name of a grid zone. */
  readonly zone: string
  /** Grams of CO2e per kilowatt-hour of electricity. */
  readonly gramsPerKilowattHour: number
  /** Which question the number answers. */
  readonly kind: CarbonFactorKind
  /** Publisher and title. */
  readonly source: string
  /** Year or instant the value is for. */
  readonly validFor: string
  /** Licence of the number. */
  readonly licence: string
}

/** Carbon intensity forecast for a stretch of time. */
export interface CarbonForecastPoint {
  /** First millisecond since the epoch it holds for. */
  readonly startUnixMs: number
  /** First millisecond since the epoch it no longer holds for. */
  readonly endUnixMs: number
  /** Expected intensity, gCO2e/kWh. */
  readonly gramsPerKilowattHour: number
}

/** Gives the carbon intensity of electricity for a zone and a time. */
export interface CarbonProvider {
  /** Unique id, such as `static`. */
  readonly id: string
  /** Whether the factor of a zone is the same at all times, as yearly averages are. Default false. */
  readonly isConstant?: boolean
  /**
   * @param zone ISO 3166 alpha-3 code, `WORLD`, or a zone of this provider
   * @param when instant the energy was used
   * @throws a coded error naming the zones known when `zone` is unknown
   */
  doFactor(zone: string, when: Date): Promise<CarbonFactor>
  /**
   * What the intensity is expected to be, in order of time and as far as the provider knows. A provider without
   * forecasts leaves this out.
   * @param from first instant of interest
   * @param until end of the stretch of interest
   * @throws as {@link doFactor}
   */
  doForecast?(zone: string, from: Date, until: Date): Promise<readonly CarbonForecastPoint[]>
}
