import type { RunBudget, RunEnergy } from '../run-data.ts'
import { asNumber, asObject, type JsonObject } from './json-value.ts'

/** Joules of one unit of each kind of budget that a run can be given. */
function joulesPer(unit: string, energy: RunEnergy | undefined): number | undefined {
  if (unit === 'joules') return 1
  if (unit === 'kilowattHours') return 3.6e6
  if (unit !== 'gramsCo2e' || energy === undefined) return undefined
  const { factor, powerUsageEffectiveness } = energy
  return 3.6e6 / (factor.gramsPerKilowattHour * powerUsageEffectiveness)
}

const symbols: Readonly<Record<string, string>> = {
  joules: 'J',
  kilowattHours: 'kWh',
  gramsCo2e: 'gCO2e',
  money: 'money',
  joulesPerToken: 'J/token',
}

/**
 * Energy budgets in the arguments of a run: `energyBudget: { joules | kilowattHours | gramsCo2e | money |
 * joulesPerToken, hard }`. Those that translate into joules get a line in the chart.
 */
export function readBudgets(args: JsonObject | undefined, energy: RunEnergy | undefined): RunBudget[] {
  const budget = asObject(args?.['energyBudget'])
  if (budget === undefined) return []
  return Object.entries(symbols).flatMap(([unit, symbol]) => {
    const limit = asNumber(budget[unit])
    if (limit === undefined) return []
    const factor = joulesPer(unit, energy)
    return [
      {
        label: `${limit} ${symbol}`,
        ...(factor === undefined ? {} : { joules: limit * factor }),
        isHard: budget['hard'] !== false,
      },
    ]
  })
}
