import type { TrainingPlan } from './training-plan.ts'

/** Forecast against what happened. Errors are (forecast − actual) / actual. */
export interface PlanComparison {
  /** Forecast peak. */
  readonly forecastBytes: number
  /** Highest bytes of the run. */
  readonly actualBytes: number
  /** Relative error of the peak. */
  readonly bytesError: number
  /** Forecast time of the steps that ran. */
  readonly forecastSeconds: number
  /** Their time, evaluations and checkpoints left out. */
  readonly actualSeconds: number
  /** Relative error of the time. */
  readonly secondsError: number
}

/** Compares a plan with a run of `steps` steps. */
export function comparePlan(
  plan: TrainingPlan,
  actualBytes: number,
  steps: number,
  actualSeconds: number,
): PlanComparison {
  const forecastBytes = plan.memory.peakBytes
  const forecastSeconds = plan.secondsPerStep * steps
  return {
    forecastBytes,
    actualBytes,
    bytesError: (forecastBytes - actualBytes) / Math.max(1, actualBytes),
    forecastSeconds,
    actualSeconds,
    secondsError: (forecastSeconds - actualSeconds) / Math.max(1e-9, actualSeconds),
  }
}
