import type { CalibrationSample } from '@swift/energy'
import { SwiftError } from '@swift/spec'
import type { CommandCall } from '../../arguments/command.ts'
import { printJson, printLine } from '../../output/output.ts'
import { formatTable } from '../../output/table.ts'
import { ledgerFolder } from './ledger-folder.ts'

/** Time and energy of a ledger that one process wrote without a break. */
async function sampleOf(
  folder: string,
  joules: (start: number, end: number) => number | undefined,
): Promise<CalibrationSample | undefined> {
  const { Ledger, segmentHeaders, toJoules } = await import('@swift/energy')
  const [header, ...more] = await segmentHeaders(folder)
  const totals = Ledger.read(folder)
  if (header === undefined || more.length > 0 || totals.gaps.length > 0) {
    throw new SwiftError({
      code: 'ERR_CALIBRATION_DATA',
      asked: `Calibrating with ${folder}`,
      found: more.length > 0 ? 'a run that was resumed' : 'a run with gaps',
      remedy: 'Use runs that were measured from beginning to end',
    })
  }
  const milliseconds = Number(totals.durationNanoseconds) / 1e6
  const wallJoules = joules(header.startedUnixMs, header.startedUnixMs + milliseconds)
  const measured = totals.energy.measured
  if (wallJoules === undefined || measured === undefined) return undefined
  return { seconds: milliseconds / 1000, measuredJoules: toJoules(measured.nanojoules), wallJoules }
}

/** `swift energy calibrate METER.csv DIR DIR DIR`: fits the sensors to a wall meter that recorded the runs. */
export async function calibrate({ values, positionals, output }: CommandCall): Promise<number> {
  const { fitCalibration, WallMeterLog, writeCalibration } = await import('@swift/energy')
  const [, meter, ...folders] = positionals
  if (meter === undefined || folders.length === 0) {
    throw new SwiftError({
      code: 'ERR_ARGUMENT_MISSING',
      asked: 'swift energy calibrate',
      found: meter === undefined ? 'no record of a wall meter' : 'no runs',
      remedy: 'Write swift energy calibrate METER.csv RUN_IDLE RUN_HALF RUN_FULL',
    })
  }
  const log = await WallMeterLog.read(meter)
  const samples: CalibrationSample[] = []
  const skipped: string[] = []
  for (const name of folders) {
    const sample = await sampleOf(await ledgerFolder(name, 'calibrate'), (start, end) => log.joules(start, end))
    if (sample === undefined) skipped.push(name)
    else samples.push(sample)
  }
  const fitted = fitCalibration(samples)
  const path = typeof values['calibration'] === 'string' ? values['calibration'] : 'calibration.json'
  await writeCalibration(path, fitted)
  if (output.json) printJson({ type: 'energy-calibration', path, skipped, ...fitted })
  else {
    printLine(
      formatTable([
        ['calibration', `${fitted.id} in ${path}`],
        ['gain', `${fitted.gain.toFixed(4)} J at the wall for each measured joule`],
        ['offset', `${fitted.offsetWatts.toFixed(2)} W at the wall that no sensor sees`],
        ['residual', `${(100 * fitted.relativeResidual).toFixed(2)} % of the mean over ${fitted.samples} runs`],
        ...skipped.map((name) => ['left out', `${name}: the meter does not cover it, or nothing was measured`]),
      ]),
    )
    printLine(`apply it: swift energy report RUN --calibration ${path}`)
  }
  return 0
}
