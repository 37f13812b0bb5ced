import { type CarbonProvider, SwiftError } from '@swift/spec'
import { chooseWindow, type ChosenWindow, type WindowRequest } from './choose-window.ts'

/** A provider that knows the hours ahead. */
export type ForecastingProvider = CarbonProvider & Required<Pick<CarbonProvider, 'doForecast'>>

/** @throws `ERR_CARBON_FORECAST` for a provider that knows no future */
export function requireForecast(provider: CarbonProvider): ForecastingProvider {
  if (provider.doForecast !== undefined) return provider as ForecastingProvider
  throw new SwiftError({
    code: 'ERR_CARBON_FORECAST',
    asked: 'Waiting for hours of low carbon',
    found: `the carbon provider ${provider.id} has no forecast`,
    remedy: 'Choose carbon electricity-maps, watttime or uk',
  })
}

/**
 * The start of the hours of lowest carbon that end by a deadline, by a provider's forecast.
 * @throws `ERR_CARBON_FORECAST`, `ERR_CARBON_WINDOW`, and what the provider throws
 */
export async function chooseStart(
  provider: CarbonProvider,
  zone: string,
  request: WindowRequest,
): Promise<ChosenWindow> {
  const { fromUnixMs, deadlineUnixMs } = request
  const forecast = await requireForecast(provider).doForecast(zone, new Date(fromUnixMs), new Date(deadlineUnixMs))
  return chooseWindow(forecast, request)
}

/** `forecast 100 g/kWh instead of 400 g/kWh now (75 % less)`. */
export function describeWindow({ gramsPerKilowattHour: then, nowGramsPerKilowattHour: now }: ChosenWindow): string {
  const saved = 100 * (1 - then / now)
  return `forecast ${then.toFixed(0)} g/kWh instead of ${now.toFixed(0)} g/kWh now (${saved.toFixed(0)} % less)`
}
