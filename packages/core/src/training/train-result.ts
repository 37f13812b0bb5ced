import type { EnergyReport } from '@swift/spec'
import type { PlanComparison } from '../planning/compare-plan.ts'

/** Why a run ended. */
export type StopReason = 'finished' | 'early-stop' | 'aborted' | 'energy-budget'

/** What a run came to. */
export interface TrainResult {
  /** Why it ended. */
  readonly reason: StopReason
  /** Optimizer steps done, resumed ones included. */
  readonly step: number
  /** Steps it was to have. */
  readonly totalSteps: number
  /** Folder of the run. */
  readonly runFolder: string
  /** Last checkpoint. */
  readonly lastCheckpoint: string | undefined
  /** Checkpoint of the lowest evaluation loss. */
  readonly bestCheckpoint: string | undefined
  /** Loss of the last step, in nats per target token. */
  readonly loss: number | undefined
  /** Lowest evaluation loss. */
  readonly bestEvaluationLoss: number | undefined
  /** Tokens read in this process. */
  readonly tokens: number
  /** Epochs done in this process, with a fraction. */
  readonly epochs: number
  /** Time of the steps, in milliseconds; pauses are not in it. */
  readonly durationMs: number
  /** Time in pauses and in waiting for a start of low carbon, in milliseconds. */
  readonly pausedMs: number
  /** Updates skipped because of NaN or infinity. */
  readonly skippedSteps: number
  /** Forecast against the run. */
  readonly planComparison: PlanComparison | undefined
  /** Energy by epoch; undefined without a ledger. */
  readonly energy: EnergyReport | undefined
  /** Why there is no energy. */
  readonly energyUnavailable: string | undefined
  /** How to continue a run that was aborted or whose budget is spent. */
  readonly resumeHint: string | undefined
}

/** How to continue a run that ended before its last step; undefined where there is nothing to continue. */
export function resumeHint(
  reason: StopReason,
  runFolder: string,
  step: number,
  lastCheckpoint: string | undefined,
): string | undefined {
  if (lastCheckpoint === undefined || (reason !== 'aborted' && reason !== 'energy-budget')) return undefined
  const budget = reason === 'energy-budget' ? ', with a larger energyBudget: it counts the whole run' : ''
  return `Continue with outputDir: ${runFolder} and resumeFromCheckpoint: auto (step ${step} is saved)${budget}`
}
