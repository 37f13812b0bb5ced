import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { buildReport, Ledger, sumEntries, toJoules, uncertaintyLookup } from '@swift/energy'
import { SwiftError, type CarbonProvider, type CarbonSplit, type EnergySplit, type LedgerTotals } from '@swift/spec'
import type { AccountEntry, QuantitySplit, RunEnergy, RunProblem } from '../run-data.ts'
import { defined } from './json-value.ts'
import { toBands } from './to-bands.ts'

/** What carbon is derived from. */
export interface CarbonOptions {
  /** Grid zone. Default: env `SWIFT_CARBON_ZONE`, else the world. */
  readonly zone?: string
  /** Power usage effectiveness of the building. Default 1. */
  readonly pue?: number
  /** Where grid factors come from. Default: env `SWIFT_CARBON_PROVIDER`, else the built-in yearly averages. */
  readonly carbon?: CarbonProvider
}

/**
 * Refuses a zone or a PUE that no report can be made with: an option that is wrong must not look like a run that is.
 * @throws `ERR_ENERGY_PUE`, and what the carbon provider throws for an unknown zone
 */
export async function checkCarbon(carbon: CarbonOptions): Promise<void> {
  const nothing: LedgerTotals = {
    runId: '',
    segment: 0,
    sequence: 0,
    chainHash: '',
    durationNanoseconds: 0n,
    sources: [],
    entries: [],
    gaps: [],
    fits: [],
    mergeNotes: [],
    energy: { measured: undefined, modelled: undefined },
  }
  await buildReport(nothing, { ...carbon, carbonFallback: true })
}

/** A ledger as read. */
export interface ReadEnergy {
  readonly energy: RunEnergy
  /** Wall clock of its beginning and of its last commit. */
  readonly startedUnixMs: number
  readonly endedUnixMs: number
  /** Whether it was closed in order. */
  readonly closed: boolean
}

/** Six significant digits: beyond what any interval of a ledger resolves, and half the size of the page. */
export function rounded(value: number): number {
  return Number(value.toPrecision(6))
}

function energySplit({ measured, modelled }: EnergySplit): QuantitySplit {
  const of = (amount: EnergySplit['measured']) =>
    amount && {
      value: rounded(toJoules(amount.nanojoules)),
      low: rounded(toJoules(amount.lowNanojoules)),
      high: rounded(toJoules(amount.highNanojoules)),
    }
  return defined({ measured: of(measured), modelled: of(modelled) })
}

function carbonSplit({ measured, modelled }: CarbonSplit): QuantitySplit {
  const of = (amount: CarbonSplit['measured']) =>
    amount && { value: rounded(amount.grams), low: rounded(amount.lowGrams), high: rounded(amount.highGrams) }
  return defined({ measured: of(measured), modelled: of(modelled) })
}

function toAccounts({ entries, sources }: LedgerTotals): AccountEntry[] {
  const uncertaintyOf = uncertaintyLookup(sources)
  const groups = Map.groupBy(entries, ({ kind, path }) => `${kind}/${path}`)
  return [...groups.values()].flatMap((group) => {
    const [first] = group
    if (first === undefined || group.every(({ nanojoules }) => nanojoules === 0n)) return []
    return [{ kind: first.kind, path: first.path, energy: energySplit(sumEntries(group, uncertaintyOf)) }]
  })
}

/** The ledger's folder of a run: `energy` in it, or the folder itself; undefined where neither holds a segment. */
export async function ledgerFolder(folder: string): Promise<string | undefined> {
  for (const candidate of [join(folder, 'energy'), folder]) {
    const names = await readdir(candidate).catch(() => [])
    if (names.some((name) => name.endsWith('.swj'))) return candidate
  }
  return undefined
}

async function noteOtherRanks(folder: string, problems: RunProblem[]): Promise<void> {
  const names = await readdir(folder).catch(() => [])
  const ranks = new Set(names.flatMap((name) => /-(\d+)-\d+\.swj$/.exec(name)?.[1] ?? []))
  if (ranks.size < 2) return
  problems.push({
    severity: 'note',
    code: 'WARN_LEDGER_RANKS',
    found: `The ledger holds ${ranks.size} ranks; this page shows rank 0 alone.`,
    remedy: 'Merge the ranks first to see them together.',
  })
}

/** Reads a ledger folder. What cannot be read is a problem, and undefined. */
export async function readEnergy(
  folder: string,
  carbon: CarbonOptions,
  problems: RunProblem[],
): Promise<ReadEnergy | undefined> {
  try {
    const totals = Ledger.read(folder)
    const series = await Ledger.series(folder)
    // A carbon service that fails takes no joule off the page: the yearly factor stands in, and the page says so.
    const report = await buildReport(totals, { per: 'account', ...carbon, series, carbonFallback: true })
    if (report.factorNote !== undefined) {
      problems.push({
        severity: 'note',
        code: 'WARN_CARBON_FALLBACK',
        found: `Carbon: ${report.factorNote}.`,
        remedy: 'Check the key and the network of the carbon provider; joules do not depend on it.',
      })
    }
    const verification = await Ledger.verify(folder)
    if (!verification.ok) {
      problems.push(
        ...verification.findings.map(({ code, invariant, segment, message }) => ({
          severity: 'error' as const,
          code,
          found: `${segment}: ${message} (${invariant}).`,
          remedy: 'The figures end at the last commit that holds; restore the segment from a copy to see the rest.',
        })),
      )
    }
    await noteOtherRanks(folder, problems)
    const last = series.parts.at(-1)
    return {
      energy: {
        runId: totals.runId,
        durationSeconds: report.durationSeconds,
        phases: energySplit(report.phases.energy),
        machine: energySplit(report.machine.energy),
        carbon: carbonSplit(report.phases.carbon),
        factor: report.factor,
        factors: report.factors.length,
        powerUsageEffectiveness: report.powerUsageEffectiveness,
        accounts: toAccounts(totals),
        series: toBands(series),
        sources: totals.sources.map(({ modulusNanojoules: _modulus, ...source }) => source),
        gaps: totals.gaps.map(({ source, durationNanoseconds, reason }) => ({
          source,
          seconds: Number(durationNanoseconds) / 1e9,
          reason,
        })),
        verification,
      },
      startedUnixMs: series.parts[0]?.startedUnixMs ?? 0,
      endedUnixMs: last?.endedUnixMs ?? 0,
      closed: last?.closed ?? false,
    }
  } catch (error) {
    problems.push(ledgerProblem(error))
    return undefined
  }
}

function ledgerProblem(error: unknown): RunProblem {
  if (SwiftError.isInstance(error)) {
    const { code, found, remedy } = error
    return { severity: 'error', code, found: `The energy ledger: ${found}`, remedy }
  }
  return {
    severity: 'error',
    code: 'ERR_LEDGER_READ',
    found: `The energy ledger: ${error instanceof Error ? error.message : String(error)}`,
    remedy: 'Run swift energy verify on the folder; losses are shown without energy.',
  }
}
