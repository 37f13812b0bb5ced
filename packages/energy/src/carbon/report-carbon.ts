import { type CarbonFactor, type CarbonProvider, type LedgerEntry, type LedgerTotals, SwiftError } from '@swift/spec'
import type { LedgerSeries } from '../read-series.ts'
import { accountKey, carbonOverTime, type CarbonStretch, stretchesOf } from './carbon-over-time.ts'
import { alpha2OfAlpha3 } from './country-codes.ts'
import { StaticCarbonProvider } from './static-carbon-provider.ts'

/** What a report derives grams from. */
export interface ReportCarbonRequest {
  readonly provider: CarbonProvider
  readonly zone: string
  /** Instant of the one factor for everything; `undefined`: the factor of each stretch of time. */
  readonly when: Date | undefined
  /** Energy over time; `undefined` where nobody knows it. */
  readonly series: LedgerSeries | undefined
  /** Whether the built-in yearly factor stands in for a provider that fails. */
  readonly fallback: boolean
}

/** Grid factors of a report. */
export interface ReportCarbon {
  /** The one factor, or the mean weighted by energy. */
  readonly factor: CarbonFactor
  /** Every factor used, in order of time. */
  readonly factors: readonly CarbonFactor[]
  /** What a reader has to know about how they were chosen; `undefined`: as asked. */
  readonly note: string | undefined
  /** Grams CO2e/kWh of some entries of one class, PUE left out. */
  intensityOf(entries: readonly LedgerEntry[]): number
}

/** Carbon zone of reports: what was asked for, else env `SWIFT_CARBON_ZONE`, else the world. */
export function carbonZone(zone: string | undefined): string {
  return zone ?? process.env['SWIFT_CARBON_ZONE'] ?? 'WORLD'
}

/** The zone of the built-in table that stands in for a provider's own. */
function staticZone(zone: string): string {
  const upper = zone.toUpperCase()
  const byAlpha2 = Object.entries(alpha2OfAlpha3).find(([, alpha2]) => alpha2 === upper)
  return byAlpha2?.[0] ?? upper
}

/**
 * The factor of a provider, or the built-in yearly one where it fails.
 * @returns `note` says why it is not the provider's; `undefined` where it is
 * @throws the provider's error where the built-in table does not know the zone either, and what is no coded error
 */
export async function factorOrStatic(
  provider: CarbonProvider,
  zone: string,
  when: Date,
): Promise<{ readonly factor: CarbonFactor; readonly note: string | undefined }> {
  try {
    return { factor: await provider.doFactor(zone, when), note: undefined }
  } catch (error) {
    return standIn(provider, zone, error)
  }
}

async function standIn(
  provider: CarbonProvider,
  zone: string,
  error: unknown,
): Promise<{ readonly factor: CarbonFactor; readonly note: string }> {
  if (!SwiftError.isInstance(error)) throw error
  const factor = await new StaticCarbonProvider().doFactor(staticZone(zone)).catch(() => {
    throw error
  })
  const note = `the yearly factor of ${factor.zone} stands in for ${provider.id} in ${zone}: ${error.code} ${error.found}`
  return { factor, note }
}

function constant(factor: CarbonFactor, note?: string): ReportCarbon {
  return { factor, factors: [factor], note, intensityOf: () => factor.gramsPerKilowattHour }
}

/** What the balances hold and the series does not: the energy since the last commit of an open ledger. */
function restOf({ entries }: LedgerTotals, stretches: readonly CarbonStretch[]): CarbonStretch | undefined {
  const sums = new Map<string, bigint>()
  for (const gain of stretches.flatMap(({ gains }) => gains)) {
    const key = accountKey(gain)
    sums.set(key, (sums.get(key) ?? 0n) + gain.nanojoules)
  }
  const gains = entries.flatMap(({ source, energyClass, kind, path, nanojoules }) => {
    const rest = nanojoules - (sums.get(accountKey({ source, kind, path })) ?? 0n)
    return rest === 0n ? [] : [{ source, energyClass, kind, path, nanojoules: rest }]
  })
  const at = Date.now()
  return gains.length === 0 ? undefined : { startUnixMs: stretches.at(-1)?.endUnixMs ?? at, endUnixMs: at, gains }
}

async function overTime(
  totals: LedgerTotals,
  series: LedgerSeries,
  provider: CarbonProvider,
  zone: string,
): Promise<ReportCarbon> {
  const known = stretchesOf(series)
  const rest = restOf(totals, known)
  const stretches = rest === undefined ? known : [...known, rest]
  if (stretches.length === 0) return constant(await provider.doFactor(zone, new Date()))
  const { factor, factors, gramsByAccount } = await carbonOverTime(stretches, provider, zone)
  return {
    factor,
    factors,
    note: undefined,
    intensityOf: (entries) => {
      let [kilowattHours, grams] = [0, 0]
      for (const entry of entries) {
        kilowattHours += Number(entry.nanojoules) / 3.6e15
        grams += gramsByAccount.get(accountKey(entry)) ?? 0
      }
      return kilowattHours > 0 && factors.length > 1 ? grams / kilowattHours : factor.gramsPerKilowattHour
    },
  }
}

/**
 * Grid factors for the balances of a ledger: of the time at which each part was used, where the provider's factors vary and
 * the energy over time is known.
 * @throws what the provider throws, unless `fallback` is on and the built-in table knows the zone
 */
export async function reportCarbon(totals: LedgerTotals, request: ReportCarbonRequest): Promise<ReportCarbon> {
  const { provider, zone, when, series, fallback } = request
  try {
    if (when !== undefined || provider.isConstant === true) {
      return constant(await provider.doFactor(zone, when ?? new Date()))
    }
    if (series !== undefined) return await overTime(totals, series, provider, zone)
    const factor = await provider.doFactor(zone, new Date())
    return constant(factor, 'one factor, of now, for all of the energy: when it was used is not known here')
  } catch (error) {
    if (!fallback) throw error
    const { factor, note } = await standIn(provider, zone, error)
    return constant(factor, note)
  }
}
