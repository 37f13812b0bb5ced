import type { Ledger } from '@swift/energy'
import type { CarbonProvider } from '@swift/spec'
import type { RunGateOptions } from '../energy/run-schedule.ts'
import type { SwiftModel } from '../model/swift-model.ts'
import type { DataOptions } from '../options/data-options.ts'
import type { TrainerArguments } from '../options/trainer-arguments.ts'
import type { TrainingData } from './prepare-batches.ts'
import type { Trainable } from './trainable.ts'

/** What a trainer is made of. */
export interface TrainerInit extends DataOptions {
  /** The model; its adapter, or all of it, is trained. */
  readonly model: SwiftModel
  /** Arguments of the run. Default: `new TrainerArguments()`. */
  readonly args?: TrainerArguments
  /** Files, folders or globs of rows; or sequences tokenised already; or batches. */
  readonly trainDataset: TrainingData
  /** The same for evaluation. */
  readonly evalDataset?: TrainingData
  /** Aborting it finishes the step, saves a checkpoint and ends the run. */
  readonly signal?: AbortSignal
  /**
   * Called before each step, which waits for it: the place to pause a run for reasons of one's own (`pauseAbove` pauses it for
   * the grid). `save()` writes a checkpoint first, for a pause that may be long.
   */
  readonly beforeStep?: (moment: { readonly step: number; save(): Promise<string> }) => Promise<void>
  /** A ledger that the caller opened and closes. Default: one in the run folder. */
  readonly ledger?: Ledger
  /** Where grid factors and forecasts come from. Default: the option `carbon`, else the built-in yearly averages. */
  readonly carbon?: CarbonProvider
  /** Finer settings of `pauseAbove` and `deadline`: when to go on, how often to ask, how long to wait in all. */
  readonly carbonGate?: RunGateOptions
  /** Which parameters decay. Default: matrices, not norms and biases. */
  readonly decays?: (trainable: Trainable) => boolean
}

/** What only a program can give; their types are TypeScript's to check. */
export const programFields: ReadonlySet<string> = new Set([
  'model',
  'args',
  'trainDataset',
  'evalDataset',
  'signal',
  'ledger',
  'carbon',
  'carbonGate',
  'decays',
  'beforeStep',
])
