import { carbonProviderOf, carbonZone, configuredCarbonProvider, requireForecast } from '@swift/energy'
import { SwiftError, type CarbonProvider } from '@swift/spec'
import type { TrainerArguments } from '../options/trainer-arguments.ts'

/** Where the carbon of a run comes from. */
export interface RunCarbon {
  /** Factors and forecasts. */
  readonly provider: CarbonProvider
  /** Grid zone. */
  readonly zone: string
}

/**
 * The provider handed in, else the one named, else that of the environment.
 * @throws `ERR_CARBON_PROVIDER`
 */
export function runCarbon({ carbon, zone }: TrainerArguments, handedIn: CarbonProvider | undefined): RunCarbon {
  const provider = handedIn ?? (carbon === undefined ? configuredCarbonProvider() : carbonProviderOf(carbon))
  return { provider, zone: carbonZone(zone) }
}

/**
 * Refuses a schedule that its provider can never keep, before any data are read.
 * @throws `ERR_CARBON_FORECAST`, `ERR_OPTION_INVALID`
 */
export function checkCarbonSchedule({ deadline, pauseAbove }: TrainerArguments, { provider }: RunCarbon): void {
  if (deadline !== undefined) requireForecast(provider)
  if (pauseAbove === undefined || provider.isConstant !== true) return
  throw new SwiftError({
    code: 'ERR_OPTION_INVALID',
    asked: `TrainerArguments: pauseAbove = ${pauseAbove}`,
    found: `the carbon provider ${provider.id} has one factor for the whole year: no pause would ever end`,
    remedy: 'Choose carbon electricity-maps, watttime or uk, or leave pauseAbove out',
  })
}
