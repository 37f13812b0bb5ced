import type { CarbonProvider, EnergyReport, LedgerVerification } from '@swift/spec'
import { carbonOverTime, type CarbonStretch, stretchesOf } from './carbon/carbon-over-time.ts'
import { configuredCarbonProvider } from './carbon/carbon-provider-of.ts'
import { carbonZone, factorOrStatic } from './carbon/report-carbon.ts'
import { Ledger } from './ledger.ts'
import { buildReport, type ReportOptions } from './report.ts'
import { segmentHeaders } from './segment-header.ts'

/** Stretches of every rank in the folders; a copy of a ledger counts once. */
async function stretchesOfAll(
  directories: readonly string[],
): Promise<{ ledgers: number; stretches: CarbonStretch[] }> {
  const seen = new Set<string>()
  const stretches: CarbonStretch[] = []
  for (const directory of directories) {
    const headers = await segmentHeaders(directory)
    for (const rank of new Set(headers.map((header) => header.rank))) {
      const series = await Ledger.series(directory, { rank })
      const name = `${series.runId} ${rank} ${series.parts.map(({ startedUnixMs }) => startedUnixMs).join(' ')}`
      if (seen.has(name)) continue
      seen.add(name)
      const own = ({ gains, ...times }: CarbonStretch): CarbonStretch => ({
        ...times,
        gains: gains.map((gain) => ({ ...gain, source: `${name} ${gain.source}` })),
      })
      stretches.push(...stretchesOf(series).map(own))
    }
  }
  return { ledgers: seen.size, stretches }
}

/** The provider's mean over the time of the ledgers, weighted by their energy, as one factor. */
async function meanProvider(
  directories: readonly string[],
  provider: CarbonProvider,
  zone: string,
): Promise<CarbonProvider> {
  const { ledgers, stretches } = await stretchesOfAll(directories)
  if (stretches.length === 0) return provider
  const { factor, factors } = await carbonOverTime(stretches, provider, zone)
  const source = `${factor.source} (mean of ${factors.length} over the time of ${ledgers} ledgers, weighted by energy)`
  return { id: provider.id, isConstant: true, doFactor: async () => ({ ...factor, source }) }
}

async function verifyAll(directories: readonly string[]): Promise<LedgerVerification> {
  const checks = await Promise.all(directories.map((directory) => Ledger.verify(directory)))
  const sum = (name: 'segments' | 'commits' | 'samples' | 'tornBytes'): number =>
    checks.reduce((total, check) => total + check[name], 0)
  return {
    ok: checks.every(({ ok }) => ok),
    segments: sum('segments'),
    commits: sum('commits'),
    samples: sum('samples'),
    tornBytes: sum('tornBytes'),
    findings: checks.flatMap(({ findings }) => findings),
  }
}

/**
 * One report over the ledgers of several ranks or machines: `Ledger.merge`, with the carbon of the time at which they used
 * their energy. Where factors vary the report has their mean, weighted by energy, for all of its rows.
 * @throws what `Ledger.merge`, the carbon provider and {@link buildReport} throw
 */
export async function mergeReport(directories: readonly string[], given: ReportOptions = {}): Promise<EnergyReport> {
  const totals = Ledger.merge(directories)
  const options = { ...given, journal: await verifyAll([...new Set(directories)]) }
  const { carbon = configuredCarbonProvider(), when } = options
  if (carbon.isConstant === true || when !== undefined) return buildReport(totals, options)
  const zone = carbonZone(options.zone)
  try {
    return await buildReport(totals, { ...options, carbon: await meanProvider(directories, carbon, zone) })
  } catch (error) {
    if (options.carbonFallback !== true) throw error
    const failing: CarbonProvider = { id: carbon.id, isConstant: true, doFactor: () => Promise.reject(error as Error) }
    // Throws again what no factor can stand in for.
    await factorOrStatic(failing, zone, new Date())
    return buildReport(totals, { ...options, carbon: failing })
  }
}
