import type { Quantity, QuantitySplit, RunData } from '../run-data.ts'
import { scaleSplit } from './format.ts'

/** A number of one run against the same number of the run it is compared with. */
export interface Difference {
  /** (this − other) / other. */
  readonly fraction: number
  /** Whether the intervals overlap, so that the difference may be none. */
  readonly overlaps: boolean
}

/** One run as a line of the comparison. Absent is unavailable. */
export interface ComparedRun {
  readonly run: RunData
  readonly kilowattHours: QuantitySplit
  readonly joulesPerToken: QuantitySplit
  readonly carbon: QuantitySplit
  readonly loss?: number
  readonly bestEvaluationLoss?: number
  readonly tokensPerSecond?: number
  readonly seconds?: number
}

/** The loss of the last log line that has one. */
export function lastLoss({ log }: RunData): number | undefined {
  return log.findLast(({ loss }) => loss !== undefined)?.loss
}

function bestEvaluation({ evaluations }: RunData): number | undefined {
  const losses = evaluations.flatMap(({ loss }) => (loss === undefined ? [] : [loss]))
  return losses.length === 0 ? undefined : Math.min(...losses)
}

/** Tokens per second over the whole training; from the last log line where the run has not ended. */
export function tokensPerSecond({ tokens, trainingSeconds, log }: RunData): number | undefined {
  if (tokens !== undefined && trainingSeconds !== undefined && trainingSeconds > 0) return tokens / trainingSeconds
  return log.at(-1)?.tokensPerSecond
}

/** Energy of all phases per token that was trained on. */
export function joulesPerToken({ energy, tokens }: RunData): QuantitySplit {
  if (energy === undefined || tokens === undefined || tokens <= 0) return {}
  return scaleSplit(energy.phases, 1 / tokens)
}

/** The numbers of one run. */
export function compareRun(run: RunData): ComparedRun {
  const { energy } = run
  const loss = lastLoss(run)
  const best = bestEvaluation(run)
  const speed = tokensPerSecond(run)
  return {
    run,
    kilowattHours: energy === undefined ? {} : scaleSplit(energy.phases, 1 / 3.6e6),
    joulesPerToken: joulesPerToken(run),
    carbon: energy?.carbon ?? {},
    ...(loss === undefined ? {} : { loss }),
    ...(best === undefined ? {} : { bestEvaluationLoss: best }),
    ...(speed === undefined ? {} : { tokensPerSecond: speed }),
    ...(energy === undefined ? {} : { seconds: energy.durationSeconds }),
  }
}

/** How a quantity differs from that of another run; undefined where there is nothing to compare. */
export function difference(own: Quantity | undefined, other: Quantity | undefined): Difference | undefined {
  if (own === undefined || other === undefined || other.value === 0) return undefined
  return {
    fraction: (own.value - other.value) / other.value,
    overlaps: own.low <= other.high && other.low <= own.high,
  }
}

/** The highest end of any interval: what bars of a column are drawn against. */
export function columnMaximum(splits: readonly QuantitySplit[]): number {
  return Math.max(0, ...splits.flatMap(({ measured, modelled }) => [measured?.high ?? 0, modelled?.high ?? 0]))
}
