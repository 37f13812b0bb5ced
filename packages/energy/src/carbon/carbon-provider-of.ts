import { type CarbonProvider, SwiftError } from '@swift/spec'
import { ElectricityMapsProvider } from './electricity-maps-provider.ts'
import { StaticCarbonProvider } from './static-carbon-provider.ts'
import { UkCarbonProvider } from './uk-carbon-provider.ts'
import { WattTimeProvider } from './watttime-provider.ts'

/** Names of the built-in carbon providers. */
export const carbonProviderNames: readonly string[] = ['static', 'electricity-maps', 'watttime', 'uk']

/**
 * A built-in carbon provider by name; keys come from the environment.
 * @throws `ERR_CARBON_PROVIDER` for another name
 */
export function carbonProviderOf(name: string): CarbonProvider {
  switch (name) {
    case 'static':
      return new StaticCarbonProvider()
    case 'electricity-maps':
      return new ElectricityMapsProvider()
    case 'watttime':
      return new WattTimeProvider()
    case 'uk':
      return new UkCarbonProvider()
    default:
      throw new SwiftError({
        code: 'ERR_CARBON_PROVIDER',
        asked: `The carbon provider ${JSON.stringify(name)}`,
        found: 'there is no such provider',
        remedy: `Use one of ${carbonProviderNames.join(', ')}, or hand in a provider of your own`,
      })
  }
}

const configured = new Map<string, CarbonProvider>()

/**
 * The provider of env `SWIFT_CARBON_PROVIDER`, else the built-in yearly averages. The same object each time, so that its
 * answers are asked for once.
 * @throws `ERR_CARBON_PROVIDER`
 */
export function configuredCarbonProvider(): CarbonProvider {
  const name = process.env['SWIFT_CARBON_PROVIDER'] ?? 'static'
  const provider = configured.get(name) ?? carbonProviderOf(name)
  configured.set(name, provider)
  return provider
}
