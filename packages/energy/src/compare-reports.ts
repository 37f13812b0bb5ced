import type { EnergyAmount, EnergyClass, EnergyReport, EnergyReportRow } from '@swift/spec'

/** One class of one row in two reports. */
export interface ComparedAmount {
  /** Row of both reports, `phases` and `machine` included. */
  readonly key: string
  readonly energyClass: EnergyClass
  /** `undefined` where the report has no such row or no such class. */
  readonly before: EnergyAmount | undefined
  readonly after: EnergyAmount | undefined
  /** `after / before - 1`; `undefined` where either is missing or `before` is 0. */
  readonly change: number | undefined
  /** Whether the intervals do not touch: only then is a difference shown. */
  readonly isDistinct: boolean
}

function compareAmount(
  key: string,
  energyClass: EnergyClass,
  before: EnergyAmount | undefined,
  after: EnergyAmount | undefined,
): ComparedAmount | undefined {
  if (before === undefined && after === undefined) return undefined
  if (before === undefined || after === undefined) {
    return { key, energyClass, before, after, change: undefined, isDistinct: false }
  }
  const change = before.nanojoules > 0n ? Number(after.nanojoules) / Number(before.nanojoules) - 1 : undefined
  const isDistinct = before.highNanojoules < after.lowNanojoules || after.highNanojoules < before.lowNanojoules
  return { key, energyClass, before, after, change, isDistinct }
}

/**
 * Compares two reports row by row and class by class; measured is never compared with modelled. The intervals of two
 * runs on one machine share the sensor's own error, so a difference may be real where they touch; one that is shown
 * here is.
 */
export function compareReports(before: EnergyReport, after: EnergyReport): readonly ComparedAmount[] {
  const rowsOf = (report: EnergyReport): ReadonlyMap<string, EnergyReportRow> =>
    new Map([...report.rows, report.phases, report.machine].map((row) => [row.key, row]))
  const [left, right] = [rowsOf(before), rowsOf(after)]
  const keys = new Set([...before.rows, ...after.rows].map(({ key }) => key))
  return [...keys, 'phases', 'machine'].flatMap((key) =>
    (['measured', 'modelled'] as const).flatMap(
      (energyClass) =>
        compareAmount(key, energyClass, left.get(key)?.energy[energyClass], right.get(key)?.energy[energyClass]) ?? [],
    ),
  )
}
