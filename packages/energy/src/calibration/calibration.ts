import { createHash } from 'node:crypto'
import { readFile, writeFile } from 'node:fs/promises'
import { type AppliedCalibration, type EnergyAmount, type EnergySplit, SwiftError } from '@swift/spec'
import { nonNegativeLeastSquares } from '../statistics/non-negative-least-squares.ts'

/** An affine fit of a machine's sensors to a wall meter: wall = gain · measured + offset · time. */
export interface Calibration extends AppliedCalibration {
  readonly format: 'swift-calibration/1'
  /** Intervals the fit was made from. */
  readonly samples: number
  /** Share of the variance explained. */
  readonly r2: number
  /** Milliseconds since the epoch. */
  readonly madeUnixMs: number
}

/** One stretch of time, seen by the sensors and by the meter. */
export interface CalibrationSample {
  readonly seconds: number
  /** Joules of all measured sources. */
  readonly measuredJoules: number
  /** Joules at the wall. */
  readonly wallJoules: number
}

/** Fewer stretches than this leave gain and offset to chance. */
const fewestSamples = 3

/**
 * Fits gain and offset, both at least 0. The stretches need different power: one idle, one half loaded, one full.
 * @throws `ERR_CALIBRATION_DATA` for fewer than 3 stretches, for stretches of one power only, or without measured energy
 */
export function fitCalibration(samples: readonly CalibrationSample[], madeUnixMs: number = Date.now()): Calibration {
  const usable = samples.filter(({ seconds, measuredJoules }) => seconds > 0 && measuredJoules > 0)
  const powers = usable.map(({ seconds, measuredJoules }) => measuredJoules / seconds)
  const lowest = Math.min(...powers)
  const highest = Math.max(...powers)
  if (usable.length < fewestSamples || !(highest > 1.1 * lowest)) {
    throw new SwiftError({
      code: 'ERR_CALIBRATION_DATA',
      asked: 'Fitting the sensors to a wall meter',
      found:
        usable.length < fewestSamples
          ? `${usable.length} stretches with measured energy that the meter covers`
          : `stretches between ${lowest.toFixed(1)} and ${highest.toFixed(1)} W only`,
      remedy:
        'Meter at least three runs of different power, such as idle, half load and full load, while the meter records',
    })
  }
  // Divided by time: every stretch counts the same, however long it was.
  const fit = nonNegativeLeastSquares(
    powers.map((power) => [power, 1]),
    usable.map(({ seconds, wallJoules }) => wallJoules / seconds),
  )
  const [gain = 0, offsetWatts = 0] = fit.coefficients
  const mean = usable.reduce((sum, { seconds, wallJoules }) => sum + wallJoules / seconds, 0) / usable.length
  const id = createHash('sha256')
    .update(JSON.stringify([usable, gain, offsetWatts]))
    .digest('hex')
    .slice(0, 12)
  return {
    format: 'swift-calibration/1',
    id,
    gain,
    offsetWatts,
    relativeResidual: mean > 0 ? fit.residual / mean : Number.NaN,
    samples: usable.length,
    r2: fit.r2,
    madeUnixMs,
  }
}

/** What a calibrated source may still be off, as a fraction: twice the residual is about 95 %. Replaces the sensor's own. */
export function calibratedUncertainty({ relativeResidual }: Calibration): number {
  return Math.min(1, 2 * relativeResidual)
}

function scale({ nanojoules, lowNanojoules, highNanojoules }: EnergyAmount, gain: number): EnergyAmount {
  // In parts per billion of integer arithmetic: a report of the same entries is the same to the nanojoule.
  const parts = BigInt(Math.round(gain * 1e9))
  const times = (value: bigint): bigint => (value * parts) / 1_000_000_000n
  return { nanojoules: times(nanojoules), lowNanojoules: times(lowNanojoules), highNanojoules: times(highNanojoules) }
}

/**
 * Measured energy as the wall meter would have seen it, without the offset; modelled energy stays as it is.
 * @param split sums made with {@link calibratedUncertainty}
 */
export function applyCalibration(split: EnergySplit, { gain }: Calibration): EnergySplit {
  return { measured: split.measured && scale(split.measured, gain), modelled: split.modelled }
}

/** Writes a calibration as JSON. @throws `ERR_CALIBRATION_FILE` */
export async function writeCalibration(path: string, calibration: Calibration): Promise<void> {
  await writeFile(path, `${JSON.stringify(calibration, null, 2)}\n`).catch((cause: unknown) => {
    throw new SwiftError({
      code: 'ERR_CALIBRATION_FILE',
      asked: `Writing the calibration ${path}`,
      found: cause instanceof Error ? cause.message : String(cause),
      remedy: 'Name a file in a folder that exists and can be written',
      cause,
    })
  })
}

/** Reads what {@link writeCalibration} wrote. @throws `ERR_CALIBRATION_FILE` */
export async function readCalibration(path: string): Promise<Calibration> {
  const refuse = (found: string, cause?: unknown): SwiftError =>
    new SwiftError({
      code: 'ERR_CALIBRATION_FILE',
      asked: `The calibration ${path}`,
      found,
      remedy: 'Make one with swift energy calibrate METER.csv RUN…',
      cause,
    })
  let parsed: Partial<Calibration>
  try {
    parsed = (JSON.parse(await readFile(path, 'utf8')) ?? {}) as Partial<Calibration>
  } catch (cause) {
    throw refuse(cause instanceof Error ? cause.message : String(cause), cause)
  }
  const { format, id, gain, offsetWatts, relativeResidual } = parsed
  const isNumber = (value: unknown): boolean => typeof value === 'number' && Number.isFinite(value) && value >= 0
  if (
    format !== 'swift-calibration/1' ||
    typeof id !== 'string' ||
    ![gain, offsetWatts, relativeResidual].every(isNumber)
  ) {
    throw refuse(`format ${String(format)}, gain ${String(gain)}, offset ${String(offsetWatts)} W`)
  }
  return parsed as Calibration
}
