import {
  formatCarbonSplit,
  formatDerivedSplit,
  formatEnergySplit,
  formatExactJoules,
  formatJoulesPerToken,
  formatNumber,
  type LedgerNote,
} from '@swift/energy'
import type { EnergyReport } from '@swift/spec'
import { printLine } from '../../output/output.ts'
import { formatTable } from '../../output/table.ts'

/** `300 g/kWh`, or the mean of several factors, weighted by energy, with their range. */
function intensityText({ factor, factors }: EnergyReport): string {
  if (factors.length < 2) return `${formatNumber(factor.gramsPerKilowattHour)} g/kWh`
  const values = factors.map(({ gramsPerKilowattHour }) => gramsPerKilowattHour)
  const range = `${formatNumber(Math.min(...values))} to ${formatNumber(Math.max(...values))}`
  return `mean ${formatNumber(factor.gramsPerKilowattHour)} g/kWh of ${factors.length} factors over time (${range})`
}

/** Lines about where grams, money and litres come from. */
export function factorLines(report: EnergyReport): string[] {
  const { factor, factorNote, powerUsageEffectiveness: pue, cost, water, embodied, calibration } = report
  return [
    `carbon factor ${factor.zone} ${intensityText(report)}, ${factor.kind} · ${factor.source} · ${factor.validFor} · ${factor.licence} · PUE ${pue}`,
    ...(factorNote === undefined ? [] : [`carbon note: ${factorNote}`]),
    ...(cost === undefined ? [] : [`cost ${formatDerivedSplit(cost)} at ${cost.perKilowattHour} ${cost.unit}/kWh`]),
    ...(water === undefined ? [] : [`water ${formatDerivedSplit(water)} at ${water.perKilowattHour} litres/kWh`]),
    ...(embodied === undefined ? [] : [`embodied ${formatNumber(embodied.grams)} gCO2e · ${embodied.source}`]),
    ...(calibration === undefined
      ? []
      : [
          `calibration ${calibration.id}: measured × ${formatNumber(calibration.gain)}, residual ${(100 * calibration.relativeResidual).toFixed(2)} %; ${formatNumber(calibration.offsetWatts)} W at the wall are seen by no sensor and are not added`,
        ]),
  ]
}

/** Lines about a journal that cannot be read to its end; none where it can. */
export function journalLines({ journal }: Pick<EnergyReport, 'journal'>): string[] {
  if (journal === undefined || (journal.ok && journal.tornBytes === 0)) return []
  return [
    ...journal.findings.map(({ code, segment, message }) => `journal damaged: ${code} ${segment}: ${message}`),
    ...(journal.tornBytes === 0 ? [] : [`journal torn: ${journal.tornBytes} bytes after the last whole commit`]),
    'journal: what was written after the damage is missing here; the figures end at the last commit that holds',
  ]
}

/** Lines about sources and gaps: what was measured, what not, and why. */
export function sourceLines(report: EnergyReport): string[] {
  const { sources, gaps, fits, mergeNotes } = report
  return [
    ...journalLines(report),
    ...mergeNotes.map(({ code, message }) => `merge ${code}: ${message}`),
    ...sources.map(
      ({ id, state, provenance, reason, relativeUncertainty }) =>
        `source ${id}: ${state}, ${provenance} ±${(100 * relativeUncertainty).toFixed(0)} %${reason === '' ? '' : `, ${reason}`}`,
    ),
    ...gaps.map(
      ({ source, durationNanoseconds, reason }) =>
        `gap ${source}: ${(Number(durationNanoseconds) / 1e9).toFixed(3)} s, ${reason}`,
    ),
    ...fits.flatMap(({ source, intervals, condition, relativeNoise, merged }) => [
      `division of ${source} over phases: regression over ${intervals} readings, condition number ${formatNumber(condition)}, noise ±${(100 * relativeNoise).toFixed(1)} %`,
      ...merged.map(
        (classes) =>
          `  not to be told apart, read their sum: ${classes.map((name) => name || '(no phase)').join(' + ')}`,
      ),
    ]),
  ]
}

/** 0.001 kWh: a smaller run is easier to read in joules. */
const smallNanojoules = 3_600_000_000_000n

/** Whether the machine used so little that joules read better than kilowatt-hours. */
export function isSmall({ machine }: EnergyReport): boolean {
  const { measured, modelled } = machine.energy
  return (measured?.nanojoules ?? 0n) + (modelled?.nanojoules ?? 0n) < smallNanojoules
}

/** Prints a report as a table, with everything that is needed to judge its numbers. */
export function printReport(report: EnergyReport, tokens: number | undefined, notes: readonly LedgerNote[] = []): void {
  const unit = isSmall(report) ? 'J' : 'kWh'
  const row = ({ key, energy, carbon }: EnergyReport['phases'], of?: number): string[] => [
    key,
    formatEnergySplit(energy, { unit }),
    formatCarbonSplit(carbon),
    of === undefined ? '' : formatJoulesPerToken(energy, of),
  ]
  printLine(`run ${report.runId} · ${report.durationSeconds.toFixed(1)} s`)
  for (const line of factorLines(report)) printLine(line)
  printLine(
    formatTable([
      ...report.rows.map((one) => row(one)),
      row({ ...report.phases, key: 'all phases' }, tokens),
      row({ ...report.machine, key: 'machine' }),
    ]),
  )
  printLine(`machine, exactly: ${formatExactJoules(report.machine.energy)}`)
  for (const line of sourceLines(report)) printLine(line)
  for (const { unixMs, code, message } of notes) printLine(`note ${new Date(unixMs).toISOString()} ${code}: ${message}`)
}
