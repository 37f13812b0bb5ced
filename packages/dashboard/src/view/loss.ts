import type { EnergyClass } from '@swift/spec'
import type { LogPoint, RunData } from '../run-data.ts'

/** What a loss is drawn against. */
export type LossAxis = 'joules' | 'steps' | 'tokens'

/** A loss curve of one run. */
export interface LossCurve {
  readonly x: readonly number[]
  /** Loss in nats per target token; null where it was not a number. */
  readonly y: readonly (number | null)[]
  readonly evaluationX: readonly number[]
  readonly evaluationY: readonly number[]
  /** Classes inside the joules of the axis. */
  readonly classes: readonly EnergyClass[]
  /** Ends of the interval of the last x, when the axis is joules and the interval is known. */
  readonly interval: { readonly low: number; readonly high: number } | undefined
}

/** Joules of all phases at a log line, over both classes; undefined where nothing was read. */
export function joulesAt({ measuredJoules, modelledJoules }: LogPoint): number | undefined {
  if (measuredJoules === undefined && modelledJoules === undefined) return undefined
  return (measuredJoules ?? 0) + (modelledJoules ?? 0)
}

function position(point: LogPoint, axis: LossAxis): number | undefined {
  if (axis === 'steps') return point.step
  return axis === 'tokens' ? point.tokens : joulesAt(point)
}

/** Where a step lies on the axis, between the log lines around it. */
function interpolate(steps: readonly number[], x: readonly number[], step: number): number | undefined {
  const after = steps.findIndex((other) => other >= step)
  if (after < 0) return x.at(-1)
  const [s1, x1] = [steps[after] ?? step, x[after] ?? 0]
  if (after === 0 || s1 === step) return x1
  const [s0, x0] = [steps[after - 1] ?? step, x[after - 1] ?? 0]
  return x0 + ((x1 - x0) * (step - s0)) / (s1 - s0)
}

/** The loss of a run against joules, steps or tokens. Lines that lack the axis are left out. */
export function lossCurve({ log, evaluations, energy }: RunData, axis: LossAxis): LossCurve {
  const points = log.flatMap((point) => {
    const at = position(point, axis)
    return at === undefined ? [] : [{ point, at }]
  })
  const steps = points.map(({ point }) => point.step)
  const x = points.map(({ at }) => at)
  const evaluated = evaluations.flatMap(({ step, loss }) => {
    const at = interpolate(steps, x, step)
    return loss === undefined || at === undefined ? [] : [{ at, loss }]
  })
  const hasClass = (name: 'measuredJoules' | 'modelledJoules'): boolean =>
    points.some(({ point }) => point[name] !== undefined)
  const classes: EnergyClass[] =
    axis === 'joules'
      ? [
          ...(hasClass('measuredJoules') ? ['measured' as const] : []),
          ...(hasClass('modelledJoules') ? ['modelled' as const] : []),
        ]
      : []
  return {
    x,
    y: points.map(({ point }) => point.loss ?? null),
    evaluationX: evaluated.map(({ at }) => at),
    evaluationY: evaluated.map(({ loss }) => loss),
    classes,
    interval: axis === 'joules' ? intervalOfLast(points.at(-1)?.point, energy?.phases) : undefined,
  }
}

/** The interval of the whole run, carried over to its last log line in proportion. */
function intervalOfLast(last: LogPoint | undefined, phases: NonNullable<RunData['energy']>['phases'] | undefined) {
  if (last === undefined || phases === undefined) return undefined
  let [low, high] = [0, 0]
  for (const name of ['measured', 'modelled'] as const) {
    const joules = last[`${name}Joules`]
    const whole = phases[name]
    if (joules === undefined) continue
    if (whole === undefined || whole.value <= 0) return undefined
    low += (joules * whole.low) / whole.value
    high += (joules * whole.high) / whole.value
  }
  return high > 0 ? { low, high } : undefined
}

/** Whether any run has a loss against this axis. */
export function hasAxis(runs: readonly RunData[], axis: LossAxis): boolean {
  return runs.some(({ log }) => log.some((point) => position(point, axis) !== undefined))
}
