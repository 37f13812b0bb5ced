import type { RunBudget, RunEnergy } from '../run-data.ts'
import { asText, type JsonObject } from './json-value.ts'

const joulesOf: Readonly<Record<string, number>> = {
  J: 1,
  kJ: 1e3,
  MJ: 1e6,
  GJ: 1e9,
  Wh: 3600,
  kWh: 3.6e6,
  MWh: 3.6e9,
}
const gramsOf: Readonly<Record<string, number>> = { g: 1, kg: 1000, gCO2e: 1, kgCO2e: 1000, tCO2e: 1e6 }

/** Joules of an amount such as `0.5 kWh`, `300gCO2e` or `2EUR@0.30`; undefined where it depends on more than joules. */
function toJoules(amount: number, unit: string, energy: RunEnergy | undefined): number | undefined {
  const joules = joulesOf[unit]
  if (joules !== undefined) return amount * joules
  const grams = gramsOf[unit]
  if (grams !== undefined && energy !== undefined) {
    const perKilowattHour = energy.factor.gramsPerKilowattHour * energy.powerUsageEffectiveness
    return perKilowattHour > 0 ? (amount * grams * 3.6e6) / perKilowattHour : undefined
  }
  const price = Number(/@\s*(\d+(?:\.\d+)?)$/.exec(unit)?.[1])
  return price > 0 ? (amount * 3.6e6) / price : undefined
}

/**
 * The limits in `energyBudget` of a run's arguments, written as `soft 0.4kWh, 0.5kWh, 300gCO2e, 2EUR@0.30, 0.02J/token`.
 * Those that translate into joules get a line in the chart.
 */
export function readBudgets(args: JsonObject | undefined, energy: RunEnergy | undefined): RunBudget[] {
  const text = asText(args?.['energyBudget'])
  if (text === undefined) return []
  return text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')
    .map((part) => {
      const [, soft, digits, unit = ''] = /^(soft\s+)?(\d+(?:\.\d+)?(?:e[+-]?\d+)?)\s*(.*)$/.exec(part) ?? []
      const joules = digits === undefined ? undefined : toJoules(Number(digits), unit.trim(), energy)
      const label = soft === undefined ? part : part.slice(soft.length)
      return { label, isHard: soft === undefined, ...(joules === undefined ? {} : { joules }) }
    })
}
