import type { TrainingPlan } from '../planning/training-plan.ts'
import type { TrainResult } from '../training/train-result.ts'

/** The run begins; emitted once, before the plan. */
export interface StartEvent {
  /** Kind of event. */
  readonly type: 'start'
  /** Folder of the run. */
  readonly runFolder: string
  /** Step of the checkpoint it continues, or 0. */
  readonly resumedStep: number
  /** Checkpoint it continues. */
  readonly resumedFrom: string | undefined
}

/** The forecast; emitted before step 1. */
export interface PlanEvent {
  /** Kind of event. */
  readonly type: 'plan'
  /** The forecast and every derived value. */
  readonly plan: TrainingPlan
}

/** One optimizer step, emitted when its numbers have been read: one step late. */
export interface StepEvent {
  /** Kind of event. */
  readonly type: 'step'
  /** Number of the step, from 1. */
  readonly step: number
  /** Last step of the run. */
  readonly totalSteps: number
  /** Passes over the data so far, with a fraction. */
  readonly epoch: number
  /** Loss in nats per target token. */
  readonly loss: number
  /** Fraction of targets with the largest logit. */
  readonly tokenAccuracy: number
  /** L2 norm of all gradients before clipping. */
  readonly gradientNorm: number
  /** Learning rate of the update. */
  readonly learningRate: number
  /** Tokens read in this step. */
  readonly tokens: number
  /** Tokens with a target. */
  readonly trainedTokens: number
  /** Wall time of the step in milliseconds. */
  readonly durationMs: number
  /** Tokens per second in this step. */
  readonly tokensPerSecond: number
  /** Bytes of live tensors. */
  readonly liveBytes: number
  /** Most bytes so far. */
  readonly peakBytes: number
  /** Power by measured sources; undefined where nothing is measured. */
  readonly measuredWatts: number | undefined
  /** Power by models; undefined where nothing is modelled. */
  readonly modelledWatts: number | undefined
  /** Energy of all phases so far by measured sources, in joules. */
  readonly measuredJoules: number | undefined
  /** Energy of all phases so far by models, in joules. */
  readonly modelledJoules: number | undefined
  /** Expected time to the end of the run in milliseconds. */
  readonly remainingMs: number
  /** Whether the update was skipped because of NaN or infinity. */
  readonly skipped: boolean
}

/** Averages since the last log line; also a line of `logging.jsonl`. */
export interface LogEvent {
  /** Kind of event. */
  readonly type: 'log'
  /** Last step of the stretch. */
  readonly step: number
  /** Passes over the data so far. */
  readonly epoch: number
  /** Loss in nats per target token, over all targets of the stretch. */
  readonly loss: number
  /** Fraction of targets with the largest logit. */
  readonly tokenAccuracy: number
  /** Norm at the last step. */
  readonly gradientNorm: number
  /** Learning rate of the last step. */
  readonly learningRate: number
  /** Tokens per second. */
  readonly tokensPerSecond: number
  /** Tokens of the run so far. */
  readonly tokens: number
  /** Most bytes so far. */
  readonly peakBytes: number
  /** Energy so far by measured sources, in joules. */
  readonly measuredJoules: number | undefined
  /** Energy so far by models, in joules. */
  readonly modelledJoules: number | undefined
}

/** An evaluation over the evaluation set. */
export interface EvaluationEvent {
  /** Kind of event. */
  readonly type: 'evaluation'
  /** Step it was made after. */
  readonly step: number
  /** Loss in nats per target token. */
  readonly loss: number
  /** Fraction of targets with the largest logit. */
  readonly tokenAccuracy: number
  /** Whether its loss is the lowest so far. */
  readonly isBest: boolean
}

/** A finished checkpoint. */
export interface CheckpointEvent {
  /** Kind of event. */
  readonly type: 'checkpoint'
  /** Step it holds. */
  readonly step: number
  /** Its folder. */
  readonly path: string
  /** Time it took in milliseconds. */
  readonly durationMs: number
}

/**
 * The run waits: for the hours of lowest carbon before its deadline, or between two steps for a cleaner grid. Also a line of
 * `logging.jsonl`.
 */
export interface PauseEvent {
  /** Kind of event. */
  readonly type: 'pause'
  /** `start`: before the first step; `grid`: the grid is above `pauseAbove`, and the state is in a checkpoint. */
  readonly reason: 'start' | 'grid'
  /** Steps done. */
  readonly step: number
  /** A sentence. */
  readonly message: string
  /** Intensity now, grams CO2e per kWh; before the start the forecast for starting at once. */
  readonly gramsPerKilowattHour: number | undefined
  /** Forecast of what is waited for, grams CO2e per kWh; undefined without a forecast. */
  readonly forecastGramsPerKilowattHour: number | undefined
  /** When that is forecast to begin, in milliseconds since the epoch; undefined without a forecast. */
  readonly untilUnixMs: number | undefined
  /** When the run goes on whatever the grid does, in milliseconds since the epoch. */
  readonly latestUnixMs: number | undefined
}

/** A pause is over. Also a line of `logging.jsonl`. */
export interface ResumeEvent {
  /** Kind of event. */
  readonly type: 'resume'
  /** Steps done. */
  readonly step: number
  /** How long it was, in milliseconds. */
  readonly pausedMs: number
  /** A sentence that says why it ended. */
  readonly message: string
}

/** Something worth knowing that stops nothing: rejected rows, a skipped step, an energy source lost. */
export interface NoteEvent {
  /** Kind of event. */
  readonly type: 'note'
  /** Stable code. */
  readonly code: string
  /** A sentence. */
  readonly message: string
}

/** Progress before step 1: `tokenise` with rows and tokens so far. */
export interface ProgressEvent {
  /** Kind of event. */
  readonly type: 'progress'
  /** What is being done. */
  readonly phase: 'tokenise' | 'plan'
  /** Rows so far. */
  readonly rows: number
  /** Tokens so far. */
  readonly tokens: number
}

/** The run is over: finished, stopped early, or aborted after its last step. */
export interface EndEvent {
  /** Kind of event. */
  readonly type: 'end'
  /** What it came to. */
  readonly result: TrainResult
}

/** What a trainer tells while it runs. */
export type TrainingEvent =
  | StartEvent
  | ProgressEvent
  | PlanEvent
  | StepEvent
  | LogEvent
  | EvaluationEvent
  | CheckpointEvent
  | PauseEvent
  | ResumeEvent
  | NoteEvent
  | EndEvent
