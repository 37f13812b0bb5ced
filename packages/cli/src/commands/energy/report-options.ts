import type { EnergyPrice, ReportOptions } from '@swift/energy'
import { SwiftError, type EnergyReport } from '@swift/spec'

function refuse(option: string, text: string, found: string, remedy: string): SwiftError {
  return new SwiftError({ code: 'ERR_OPTION_INVALID', asked: `swift energy: --${option} ${text}`, found, remedy })
}

/** `0.30EUR`. @throws `ERR_OPTION_INVALID` */
function parsePrice(text: string): EnergyPrice {
  const [, value, currency] = /^(\d+(?:\.\d+)?)\s*([A-Za-z€$£¥]+)$/.exec(text.trim()) ?? []
  if (value !== undefined && currency !== undefined) return { perKilowattHour: Number(value), currency }
  const remedy = 'Write the price of a kWh, e.g. --price 0.30EUR'
  throw refuse('price', text, 'not a number followed by a currency', remedy)
}

const yearSeconds = 365.25 * 86_400

/** `164kg/4y`, or `164kg/4y*0.5` for half of the hardware. @throws `ERR_OPTION_INVALID` */
function parseEmbodied(text: string): NonNullable<ReportOptions['embodied']> {
  const [, kilograms, years, share = '1'] =
    /^(\d+(?:\.\d+)?)\s*kg\s*\/\s*(\d+(?:\.\d+)?)\s*y(?:\s*\*\s*(\d+(?:\.\d+)?))?$/.exec(text.trim()) ?? []
  if (kilograms !== undefined && Number(years) > 0 && Number(share) <= 1) {
    return {
      totalGrams: Number(kilograms) * 1000,
      lifetimeSeconds: Number(years) * yearSeconds,
      share: Number(share),
      source: `--embodied ${text}`,
    }
  }
  throw refuse(
    'embodied',
    text,
    'not kilograms over years',
    'Write what making the hardware emitted and how long it is used, e.g. --embodied 164kg/4y, or 164kg/4y*0.5 for half of it',
  )
}

/** Options of a report from the command line. */
export async function reportOptions(values: Readonly<Record<string, unknown>>): Promise<ReportOptions> {
  const { carbonProviderOf, configuredCarbonProvider, readCalibration } = await import('@swift/energy')
  const { zone, price, calibration, carbon, water, embodied } = values
  return {
    per: values['per'] as EnergyReport['per'],
    pue: values['pue'] as number,
    carbon: typeof carbon === 'string' ? carbonProviderOf(carbon) : configuredCarbonProvider(),
    carbonFallback: values['carbonFallback'] === true,
    ...(typeof zone === 'string' ? { zone } : {}),
    ...(typeof price === 'string' ? { price: parsePrice(price) } : {}),
    ...(typeof water === 'number' ? { waterLitresPerKilowattHour: water } : {}),
    ...(typeof embodied === 'string' ? { embodied: parseEmbodied(embodied) } : {}),
    ...(typeof calibration === 'string' ? { calibration: await readCalibration(calibration) } : {}),
  }
}
