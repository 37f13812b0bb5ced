import type { CarbonAmount, EnergyReport } from '@swift/spec'
import { formatNumber } from '../format.ts'

/** One class of the score, with its interval. */
export interface SciScore {
  readonly energyClass: 'measured' | 'modelled'
  /** `E`, kWh, PUE included. */
  readonly energyKilowattHours: number
  /** `E · I`, grams CO2e. */
  readonly operational: CarbonAmount
  /** `(E · I + M) / R`, grams CO2e for each unit of R. */
  readonly score: CarbonAmount
}

/** Software Carbon Intensity (ISO/IEC 21031:2024): `SCI = (E · I + M) per R`. */
export interface SciReport {
  readonly format: 'swift-sci/1'
  readonly runId: string
  /** `R`: what the score is per, and how many of it. */
  readonly functionalUnit: string
  readonly units: number
  /** `I`: grams CO2e/kWh with where it comes from. The standard takes location-based factors only. */
  readonly intensity: EnergyReport['factor']
  readonly powerUsageEffectiveness: number
  /** `M`, grams CO2e; `undefined`: nothing was said about the hardware, and the scores leave it out. */
  readonly embodiedGrams: number | undefined
  /** Measured and modelled energy apart; embodied carbon is in the first of them only. */
  readonly scores: readonly SciScore[]
  /** What a reader has to know to use the score. */
  readonly remarks: readonly string[]
}

/**
 * Software Carbon Intensity of a run: the whole machine's energy, idle and rework included, as the standard wants.
 * @param unit what the score is per, such as `token`, and how many there were; at least 1
 */
export function sciReport(report: EnergyReport, unit: { readonly name: string; readonly count: number }): SciReport {
  if (!(unit.count > 0)) throw new RangeError(`a functional unit is counted from 1, not ${unit.count}`)
  const { machine, factor, powerUsageEffectiveness: pue, embodied } = report
  const scores: SciScore[] = []
  for (const energyClass of ['measured', 'modelled'] as const) {
    const energy = machine.energy[energyClass]
    const operational = machine.carbon[energyClass]
    if (energy === undefined || operational === undefined) continue
    const share = scores.length === 0 ? (embodied?.grams ?? 0) : 0
    const per = (grams: number): number => (grams + share) / unit.count
    scores.push({
      energyClass,
      energyKilowattHours: (Number(energy.nanojoules) / 3.6e15) * pue,
      operational,
      score: {
        grams: per(operational.grams),
        lowGrams: per(operational.lowGrams),
        highGrams: per(operational.highGrams),
      },
    })
  }
  return {
    format: 'swift-sci/1',
    runId: report.runId,
    functionalUnit: unit.name,
    units: unit.count,
    intensity: factor,
    powerUsageEffectiveness: pue,
    embodiedGrams: embodied?.grams,
    scores,
    remarks: [
      ...(factor.kind === 'location-average'
        ? []
        : [`The factor is ${factor.kind}; the standard asks for a location-based average.`]),
      ...(embodied === undefined ? ['Embodied carbon is not in the score: nothing was said about the hardware.'] : []),
      ...(scores.some(({ energyClass }) => energyClass === 'modelled')
        ? ['Modelled energy is a model’s output, with its interval; it is not added to what was measured.']
        : []),
      ...(report.gaps.length > 0 ? [`${report.gaps.length} gaps without a usable reading are not in the energy.`] : []),
    ],
  }
}

/** The score as Markdown. */
export function sciMarkdown(sci: SciReport): string {
  const { intensity, scores } = sci
  const interval = ({ grams, lowGrams, highGrams }: CarbonAmount): string =>
    `${formatNumber(grams)} [${formatNumber(lowGrams)}–${formatNumber(highGrams)}]`
  return [
    '# Software Carbon Intensity',
    '',
    `Run \`${sci.runId}\`, per ${sci.functionalUnit} (${sci.units}). SCI = (E · I + M) / R, ISO/IEC 21031:2024.`,
    '',
    '| energy | E, kWh | E · I, gCO2e | SCI, gCO2e per unit |',
    '| --- | ---: | ---: | ---: |',
    ...scores.map(
      ({ energyClass, energyKilowattHours, operational, score }) =>
        `| ${energyClass} | ${formatNumber(energyKilowattHours)} | ${interval(operational)} | ${interval(score)} |`,
    ),
    ...(scores.length === 0 ? ['| unavailable | | | |'] : []),
    '',
    `I: ${formatNumber(intensity.gramsPerKilowattHour)} gCO2e/kWh, ${intensity.zone}, ${intensity.kind}, ${intensity.validFor}. ${intensity.source}. ${intensity.licence}. PUE ${sci.powerUsageEffectiveness}.`,
    `M: ${sci.embodiedGrams === undefined ? 'not given' : `${formatNumber(sci.embodiedGrams)} gCO2e`}.`,
    ...(sci.remarks.length === 0 ? [] : ['', ...sci.remarks.map((remark) => `- ${remark}`)]),
    '',
  ].join('\n')
}
