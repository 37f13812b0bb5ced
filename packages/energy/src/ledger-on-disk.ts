import { meterGains, meterRead } from '@swift/kernels/meter'
import { type EnergyReport, type LedgerTotals, SwiftError } from '@swift/spec'
import { configuredCarbonProvider } from './carbon/carbon-provider-of.ts'
import { callNative } from './native.ts'
import { type LedgerSeries, type SeriesOptions, readSeries } from './read-series.ts'
import { readState } from './read-state.ts'
import { buildReport, type ReportOptions } from './report.ts'

/** Totals of a ledger's folder at its last commit. @throws `ERR_LEDGER_EMPTY`, `ERR_LEDGER_SEGMENT` */
export function totalsOnDisk(directory: string, rank: number = 0): LedgerTotals {
  return readState(callNative(`Reading the energy ledger ${directory}`, () => meterRead(directory, rank)))
}

/** Energy over time of a ledger's folder. @throws `ERR_LEDGER_EMPTY`, `ERR_LEDGER_SEGMENT` */
export function seriesOnDisk(directory: string, { rank = 0, maximumPoints = 400 }: SeriesOptions = {}): LedgerSeries {
  const { sources } = totalsOnDisk(directory, rank)
  const asked = `Reading the energy over time of ${directory}`
  const json = callNative(asked, () => meterGains(directory, rank, maximumPoints))
  return readSeries(json, sources)
}

/** A report that knows when energy was used, where its carbon depends on it. */
export async function reportWithTimes(
  totals: LedgerTotals,
  directory: string,
  options: ReportOptions,
  rank: number = 0,
): Promise<EnergyReport> {
  const { carbon = configuredCarbonProvider(), when, series } = options
  if (carbon.isConstant === true || when !== undefined || series !== undefined) return buildReport(totals, options)
  return buildReport(totals, { ...options, series: knownSeries(totals, directory, rank) })
}

function knownSeries({ runId }: LedgerTotals, directory: string, rank: number): LedgerSeries {
  try {
    return seriesOnDisk(directory, { rank })
  } catch (error) {
    // Before the first commit everything was used just now.
    if (!SwiftError.isInstance(error, 'ERR_LEDGER_EMPTY')) throw error
    return { runId, parts: [], points: [] }
  }
}
