import type { RunData } from '../run-data.ts'
import { formatMeasure } from './format.ts'
import type { Stack, StackView } from './stack.ts'

/** A budget or a forecast that has a place in the chart of the energy. */
export interface Limit {
  readonly kind: 'budget' | 'forecast'
  readonly label: string
  readonly joules: number
}

/** Limits to draw, and sentences for those that have no place in the picture. */
export interface Limits {
  readonly shown: readonly Limit[]
  readonly notes: readonly string[]
}

/** A limit more than this many times above the curve would flatten it. */
const furthest = 3

/** Budgets and forecast of a run beside its energy so far. Power has no budget. */
export function limitLines({ budgets, forecast, step, totalSteps }: RunData, stack: Stack, view: StackView): Limits {
  if (view === 'power') return { shown: [], notes: [] }
  const used = stack.layers.reduce((sum, { joules }) => sum + joules, 0)
  const planned = (forecast?.measuredJoules ?? 0) + (forecast?.modelledJoules ?? 0)
  const steps = totalSteps === undefined ? 'all steps' : `${totalSteps} steps`
  const limits: Limit[] = [
    ...budgets.flatMap(({ label, joules, isHard }) =>
      joules === undefined
        ? []
        : [{ kind: 'budget' as const, label: `${isHard ? 'budget' : 'soft budget'} ${label}`, joules }],
    ),
    ...(planned > 0
      ? [
          {
            kind: 'forecast' as const,
            label: `forecast for ${steps}: ${formatMeasure('joules', planned)}`,
            joules: planned,
          },
        ]
      : []),
  ]
  const isNear = ({ joules }: Limit): boolean => joules <= furthest * used
  const isDone = step !== undefined && step === totalSteps
  return {
    shown: limits.filter(isNear),
    notes: [
      ...limits
        .filter((limit) => !isNear(limit))
        .map(
          ({ label, joules }) =>
            `The ${label} is above the picture: ${formatMeasure('joules', used)} of ${formatMeasure('joules', joules)} ${isDone ? 'were' : 'are'} used.`,
        ),
      ...budgets
        .filter(({ joules }) => joules === undefined)
        .map(({ label }) => `The budget of ${label} does not translate into joules and has no line.`),
    ],
  }
}
