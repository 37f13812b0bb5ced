import { type CarbonForecastPoint, SwiftError } from '@swift/spec'

/** What has to be placed. */
export interface WindowRequest {
  /** Earliest start, milliseconds since the epoch. */
  readonly fromUnixMs: number
  /** Latest end. */
  readonly deadlineUnixMs: number
  /** How long it runs. */
  readonly durationMs: number
}

/** Where to place it. */
export interface ChosenWindow {
  readonly startUnixMs: number
  /** Mean forecast over the window. */
  readonly gramsPerKilowattHour: number
  /** Mean forecast when starting at once; the bound of what waiting can save. */
  readonly nowGramsPerKilowattHour: number
  /** Lowest value of the whole forecast: no window can do better. */
  readonly bestGramsPerKilowattHour: number
}

/** Mean over `[start, start + duration)`, weighted by time; `undefined` where the forecast does not cover it. */
function meanOver(forecast: readonly CarbonForecastPoint[], start: number, duration: number): number | undefined {
  let sum = 0
  let covered = 0
  for (const { startUnixMs, endUnixMs, gramsPerKilowattHour } of forecast) {
    const part = Math.min(endUnixMs, start + duration) - Math.max(startUnixMs, start)
    if (part <= 0) continue
    sum += part * gramsPerKilowattHour
    covered += part
  }
  // Rounding at the edges is no hole.
  return covered >= duration * (1 - 1e-6) ? sum / covered : undefined
}

/**
 * The start with the lowest mean intensity that still ends by the deadline. The mean is linear between the edges of the
 * forecast, so only starts and ends at edges need to be tried; of equal ones the earliest wins.
 * @throws `ERR_CARBON_WINDOW` when the deadline is too near or the forecast does not cover now
 */
export function chooseWindow(
  forecast: readonly CarbonForecastPoint[],
  { fromUnixMs, deadlineUnixMs, durationMs }: WindowRequest,
): ChosenWindow {
  const latest = deadlineUnixMs - durationMs
  const refuse = (found: string): SwiftError =>
    new SwiftError({
      code: 'ERR_CARBON_WINDOW',
      asked: 'Choosing hours of low carbon',
      found,
      remedy: 'Give a later deadline, or start now',
    })
  if (!(durationMs > 0) || latest < fromUnixMs) throw refuse('the work does not fit before the deadline')
  const edges = forecast.flatMap(({ startUnixMs, endUnixMs }) => [
    startUnixMs,
    endUnixMs,
    startUnixMs - durationMs,
    endUnixMs - durationMs,
  ])
  const starts = [...new Set([fromUnixMs, latest, ...edges])]
    .filter((start) => start >= fromUnixMs && start <= latest)
    .sort((left, right) => left - right)
  const now = meanOver(forecast, fromUnixMs, durationMs)
  if (now === undefined) throw refuse('a forecast that does not cover the next hours')
  let best = { start: fromUnixMs, mean: now }
  for (const start of starts) {
    const mean = meanOver(forecast, start, durationMs)
    if (mean !== undefined && mean < best.mean - 1e-9) best = { start, mean }
  }
  return {
    startUnixMs: best.start,
    gramsPerKilowattHour: best.mean,
    nowGramsPerKilowattHour: now,
    bestGramsPerKilowattHour: Math.min(...forecast.map(({ gramsPerKilowattHour }) => gramsPerKilowattHour)),
  }
}
