import { parseBudget, type BudgetLimit } from '@swift/energy'
import { SwiftError } from '@swift/spec'
import type { RunBudget, RunEnergy, RunProblem } from '../run-data.ts'
import { asText, type JsonObject } from './json-value.ts'

const joulesPerKilowattHour = 3.6e6

/** Joules of a limit; undefined where it depends on more than joules. */
function toJoules(
  { quantity, limit, pricePerKilowattHour = 0 }: BudgetLimit,
  energy: RunEnergy | undefined,
): number | undefined {
  const perKilowattHour = {
    joules: joulesPerKilowattHour,
    grams: (energy?.factor.gramsPerKilowattHour ?? 0) * (energy?.powerUsageEffectiveness ?? 1),
    money: pricePerKilowattHour,
    joulesPerToken: 0,
  }[quantity]
  return perKilowattHour > 0 ? (limit * joulesPerKilowattHour) / perKilowattHour : undefined
}

/**
 * The limits in `energyBudget` of a run's arguments. Those that translate into joules get a line in the chart; a text that
 * is no budget is a problem.
 */
export function readBudgets(
  args: JsonObject | undefined,
  energy: RunEnergy | undefined,
  problems: RunProblem[],
): RunBudget[] {
  const text = asText(args?.['energyBudget'])
  if (text === undefined) return []
  try {
    return parseBudget(text).map((limit) => {
      const joules = toJoules(limit, energy)
      const label = limit.text.replace(/^soft\s+/, '')
      return { label, isHard: limit.kind === 'hard', ...(joules === undefined ? {} : { joules }) }
    })
  } catch (error) {
    if (!SwiftError.isInstance(error)) throw error
    const { code, asked, found, remedy } = error
    problems.push({ severity: 'error', code, found: `${asked}: ${found}.`, remedy })
    return []
  }
}
