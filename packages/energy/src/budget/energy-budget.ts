import type { EnergySplit } from '@swift/spec'
import { combineLabelled, formatNumber, toJoules } from '../format.ts'
import { robustLine } from '../statistics/robust-line.ts'
import { type BudgetLimit, parseBudget } from './parse-budget.ts'

/** What a run knows of itself when it looks at its budget. */
export interface BudgetObservation {
  /** Energy of the whole run so far, resumed parts included. */
  readonly energy: EnergySplit
  /** Tokens so far; needed by a limit per token. */
  readonly tokens?: number
  /** Steps done, and steps in all: for the forecast. */
  readonly step?: number
  readonly totalSteps?: number
}

/** A limit was reached, or is forecast to be. Each limit says each of these once. */
export interface BudgetEvent {
  readonly kind: 'soft' | 'hard' | 'forecast'
  /** `WARN_ENERGY_BUDGET_SOFT`, `ERR_ENERGY_BUDGET_SPENT`, `WARN_ENERGY_BUDGET_FORECAST`. */
  readonly code: string
  readonly message: string
  readonly limit: BudgetLimit
  /** In the unit of the limit. */
  readonly value: number
}

/** What the run will have used at its last step. In the unit of the limit; the interval is 95 % of slope and noise. */
export interface BudgetForecast {
  readonly value: number
  readonly low: number
  readonly high: number
}

/** How grams are made of joules. */
export interface BudgetFactors {
  /** Grams CO2e per kWh, PUE included. Default 472.9, the world's average of 2024 (Ember). */
  readonly gramsPerKilowattHour?: number
}

const joulesPerKilowattHour = 3.6e6

/** A forecast from fewer steps is a guess, and the first steps are unlike the others. */
const fewestSteps = 12

/** An average per token means nothing before. */
const fewestTokens = 1

const units = { joules: 'J', grams: 'gCO2e', money: '', joulesPerToken: 'J/token' } as const

interface Watched {
  readonly limit: BudgetLimit
  readonly points: { readonly x: number; readonly y: number }[]
  isSaid: boolean
  isForecastSaid: boolean
}

/**
 * Watches the energy of a run against limits. Measured and modelled energy count together, and every message says so:
 * a limit on the measured part alone would let a machine without sensors run for ever.
 */
export class EnergyBudget {
  readonly #watched: readonly Watched[]
  readonly #gramsPerKilowattHour: number
  #spent: BudgetEvent | undefined

  constructor(limits: readonly BudgetLimit[], { gramsPerKilowattHour = 472.9 }: BudgetFactors = {}) {
    this.#watched = limits.map((limit) => ({ limit, points: [], isSaid: false, isForecastSaid: false }))
    this.#gramsPerKilowattHour = gramsPerKilowattHour
  }

  /** A budget as it is written in options. @throws `ERR_ENERGY_BUDGET` */
  static parse(text: string, factors: BudgetFactors = {}): EnergyBudget {
    return new EnergyBudget(parseBudget(text), factors)
  }

  /** The hard limit that was reached. */
  get spent(): BudgetEvent | undefined {
    return this.#spent
  }

  /** Whether a limit is in grams, so that a factor matters. */
  get countsGrams(): boolean {
    return this.#watched.some(({ limit }) => limit.quantity === 'grams')
  }

  /**
   * Looks at the run, after each step or now and then.
   * @returns what is new: limits reached, limits the forecast will pass
   */
  observe(observation: BudgetObservation): readonly BudgetEvent[] {
    const labelled = combineLabelled(observation.energy)
    if (labelled === undefined) return []
    const joules = toJoules(labelled.amount.nanojoules)
    const events: BudgetEvent[] = []
    for (const watched of this.#watched) {
      const value = this.#valueOf(watched.limit, joules, observation)
      if (value === undefined) continue
      const { step, totalSteps } = observation
      if (step !== undefined) watched.points.push({ x: step, y: value })
      if (!watched.isSaid && value >= watched.limit.limit) {
        watched.isSaid = true
        const event = this.#reached(watched.limit, value, labelled.label)
        if (event.kind === 'hard') this.#spent ??= event
        events.push(event)
      }
      const forecast = totalSteps === undefined ? undefined : forecastOf(watched, totalSteps)
      const isCertain = forecast !== undefined && forecast.low > watched.limit.limit
      if (forecast !== undefined && isCertain && !watched.isSaid && !watched.isForecastSaid) {
        watched.isForecastSaid = true
        events.push(this.#forecast(watched.limit, forecast, step ?? 0, totalSteps ?? 0))
      }
    }
    return events
  }

  /** Where each limit's quantity will stand after the last step; `undefined` while there are too few steps. */
  forecast(
    totalSteps: number,
  ): readonly { readonly limit: BudgetLimit; readonly forecast: BudgetForecast | undefined }[] {
    return this.#watched.map((watched) => ({ limit: watched.limit, forecast: forecastOf(watched, totalSteps) }))
  }

  #valueOf(
    { quantity, pricePerKilowattHour = 0 }: BudgetLimit,
    joules: number,
    seen: BudgetObservation,
  ): number | undefined {
    const kilowattHours = joules / joulesPerKilowattHour
    switch (quantity) {
      case 'joules':
        return joules
      case 'grams':
        return kilowattHours * this.#gramsPerKilowattHour
      case 'money':
        return kilowattHours * pricePerKilowattHour
      case 'joulesPerToken':
        return seen.tokens !== undefined && seen.tokens >= fewestTokens ? joules / seen.tokens : undefined
    }
  }

  #reached(limit: BudgetLimit, value: number, label: string): BudgetEvent {
    const amount = `${formatNumber(value)} ${units[limit.quantity]}`.trim()
    const { kind } = limit
    return {
      kind,
      code: kind === 'hard' ? 'ERR_ENERGY_BUDGET_SPENT' : 'WARN_ENERGY_BUDGET_SOFT',
      message: `The energy budget ${limit.text} is spent: ${amount} (${label})`,
      limit,
      value,
    }
  }

  #forecast(limit: BudgetLimit, { value, low, high }: BudgetForecast, step: number, totalSteps: number): BudgetEvent {
    const [middle, from, until] = [value, low, high].map(formatNumber)
    return {
      kind: 'forecast',
      code: 'WARN_ENERGY_BUDGET_FORECAST',
      message:
        `The energy budget ${limit.text} will not last: step ${totalSteps} is forecast at ${middle} ${units[limit.quantity]} [${from}–${until}, 95 %] after step ${step}`.replace(
          '  ',
          ' ',
        ),
      limit,
      value,
    }
  }
}

function forecastOf({ points, limit }: Watched, totalSteps: number): BudgetForecast | undefined {
  const last = points.at(-1)
  // The first fifth is warm-up: compiling, caches, an idle GPU.
  const settled = points.slice(Math.floor(points.length / 5))
  if (last === undefined || settled.length < fewestSteps) return undefined
  const line = robustLine(settled)
  if (line === undefined) return undefined
  const rest = Math.max(0, totalSteps - last.x)
  // An average per token is where it will be; a sum grows from where it is.
  const floor = limit.quantity === 'joulesPerToken' ? 0 : last.y
  const at = (slope: number): number => Math.max(floor, last.y + slope * rest)
  // Where it stands now is a point of the noise too.
  return {
    value: at(line.slope),
    low: Math.max(floor, at(line.lowSlope) - line.spread),
    high: at(line.highSlope) + line.spread,
  }
}
