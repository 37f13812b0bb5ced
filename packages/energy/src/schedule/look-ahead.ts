import type { CarbonProvider } from '@swift/spec'
import { chooseWindow } from './choose-window.ts'

/** A dirty moment, and how long work may wait. */
export interface DirtyMoment {
  readonly zone: string
  /** Intensity now, grams per kWh. */
  readonly grams: number
  /** Intensity that is clean enough. */
  readonly resumeBelow: number
  readonly nowUnixMs: number
  /** When work has to go on. */
  readonly latestUnixMs: number
  /** How long it takes from then. */
  readonly remainingMs: number
}

/** What is waited for. */
export interface Ahead {
  /** When to look again; now or earlier: waiting saves nothing; `undefined`: nobody knows. */
  readonly untilUnixMs: number | undefined
  /** Forecast of then, grams per kWh. */
  readonly gramsPerKilowattHour: number | undefined
  readonly latestUnixMs: number
  /** Whether these are the lowest hours in reach though they are not clean enough. */
  readonly isLowest: boolean
}

/** Hours that are less than this much cleaner are not waited for. */
const leastSaving = 0.05

/** A forecast further ahead than providers look. */
const farthestMs = 72 * 3_600_000

/**
 * What waiting may bring, by the provider's forecast: the first moment that is clean enough; else the start of the lowest mean
 * over the work that is left, where that saves 5 % or more; else nothing. A simple threshold reaches most of what waiting
 * can save (arXiv 2306.06502).
 * @throws what the provider throws
 */
export async function lookAhead(provider: CarbonProvider, moment: DirtyMoment): Promise<Ahead> {
  const { zone, grams, resumeBelow, nowUnixMs, latestUnixMs, remainingMs } = moment
  const unknown = { untilUnixMs: undefined, gramsPerKilowattHour: undefined, latestUnixMs, isLowest: false }
  if (provider.doForecast === undefined) return unknown
  const end = Math.min(latestUnixMs + remainingMs, nowUnixMs + farthestMs)
  const forecast = await provider.doForecast(zone, new Date(nowUnixMs), new Date(end))
  const clean = forecast.find(
    ({ startUnixMs, gramsPerKilowattHour }) =>
      startUnixMs > nowUnixMs && startUnixMs <= latestUnixMs && gramsPerKilowattHour <= resumeBelow,
  )
  if (clean !== undefined) {
    const { startUnixMs: untilUnixMs, gramsPerKilowattHour } = clean
    return { untilUnixMs, gramsPerKilowattHour, latestUnixMs, isLowest: false }
  }
  const known = forecast.some(({ startUnixMs, endUnixMs }) => startUnixMs <= nowUnixMs && endUnixMs > nowUnixMs)
  if (!known) return unknown
  const durationMs = Math.max(1, Math.ceil(Math.min(remainingMs, end - nowUnixMs)))
  const window = chooseWindow(forecast, { fromUnixMs: nowUnixMs, deadlineUnixMs: end, durationMs })
  const { startUnixMs, gramsPerKilowattHour } = window
  const isWorth = gramsPerKilowattHour < (1 - leastSaving) * Math.min(grams, window.nowGramsPerKilowattHour)
  return { untilUnixMs: isWorth ? startUnixMs : nowUnixMs, gramsPerKilowattHour, latestUnixMs, isLowest: true }
}
