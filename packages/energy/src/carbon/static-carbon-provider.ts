import { type CarbonFactor, type CarbonProvider, SwiftError } from '@swift/spec'
import { egridGrams2023 } from './egrid.ts'

/**
 * Yearly average carbon intensity of electricity generated in a zone, gCO2e/kWh over the life cycle.
 * Ember, "Yearly Electricity Data", values for 2024, CC BY 4.0. Zones are ISO 3166 alpha-3 codes.
 */
const emberGrams2024: Readonly<Record<string, number>> = {
  WORLD: 472.9,
  AUS: 553.8,
  BRA: 106.1,
  CAN: 185,
  CHN: 557.5,
  DEU: 342.1,
  FIN: 72.3,
  FRA: 44.2,
  GBR: 215.8,
  IND: 709,
  IRL: 279.8,
  JPN: 483.7,
  KOR: 415.7,
  NLD: 252.7,
  NOR: 30.8,
  POL: 615,
  SGP: 498.7,
  SWE: 35.9,
  TWN: 635.2,
  USA: 383.6,
  ZAF: 713.9,
}

/**
 * The built-in yearly factors: no network, no key, good to about a quarter of their value by year and method. Countries
 * from Ember (production mix, life cycle), subregions of the United States (`USA-CAMX`) from EPA eGRID (at the stack).
 */
export class StaticCarbonProvider implements CarbonProvider {
  readonly id: string = 'static-yearly'
  readonly isConstant: boolean = true

  /** Zones in the tables. */
  static zones(): readonly string[] {
    return [...Object.keys(emberGrams2024), ...Object.keys(egridGrams2023)]
  }

  async doFactor(zone: string): Promise<CarbonFactor> {
    const key = zone.toUpperCase()
    const egrid = egridGrams2023[key]
    if (egrid !== undefined) {
      return {
        zone: key,
        gramsPerKilowattHour: egrid,
        kind: 'location-average',
        source: 'EPA, eGRID2023, total output emission rate (CO2e at the stack, no life cycle)',
        validFor: '2023',
        licence: 'public domain (United States)',
      }
    }
    const gramsPerKilowattHour = emberGrams2024[key]
    if (gramsPerKilowattHour === undefined) {
      throw new SwiftError({
        code: 'ERR_CARBON_ZONE',
        asked: `A carbon factor for the zone ${JSON.stringify(zone)}`,
        found: 'no such zone in the built-in table',
        remedy: `Use one of ${StaticCarbonProvider.zones().join(', ')}, or give a carbon provider of your own.`,
        details: { zone },
      })
    }
    return {
      zone: key,
      gramsPerKilowattHour,
      kind: 'location-average',
      source: 'Ember, Yearly Electricity Data (production mix, life cycle)',
      validFor: '2024',
      licence: 'CC BY 4.0',
    }
  }
}
