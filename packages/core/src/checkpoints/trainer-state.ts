import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { DataPosition } from '@swift/data'
import { SwiftError, type LedgerSnapshot } from '@swift/spec'

/** Best evaluation so far. */
export interface BestEvaluation {
  /** Step it was made at. */
  readonly step: number
  /** Loss in nats per token. */
  readonly loss: number
}

/** A random stream, exactly. */
export interface RandomState {
  /** Seed of the run. */
  readonly seed: number
  /** Draws so far. */
  readonly counter: number
}

/** How far an optimizer is. */
export interface OptimizerProgress {
  /** Its id. */
  readonly id: string
  /** Updates it made. */
  readonly updates: number
}

/** `trainer_state.json`: all of a run that is not a tensor. Plain JSON. */
export interface TrainerState {
  /** Version of this layout. */
  readonly format: 'swift-trainer-state/1'
  /** Optimizer steps done. */
  readonly step: number
  /** Optimizer steps of the whole run when it was saved. */
  readonly totalSteps: number
  /** Where the next step reads its first batch. */
  readonly position: DataPosition
  /** Seed and counter of the random stream. */
  readonly random: RandomState
  /** Id of the optimizer and number of its updates (skipped steps make none). */
  readonly optimizer: OptimizerProgress
  /** Fingerprint of the training data. */
  readonly datasetFingerprint: string
  /** Micro-batches per step. */
  readonly gradientAccumulationSteps: number
  /** Tokens read so far. */
  readonly tokens: number
  /** Updates skipped because of NaN or infinity. */
  readonly skippedSteps: number
  /** Best evaluation so far. */
  readonly best: BestEvaluation | undefined
  /** Evaluations since the best one. */
  readonly evaluationsSinceBest: number
  /** Energy up to here. */
  readonly ledger: LedgerSnapshot | undefined
}

/** File of the state in a checkpoint. */
export const trainerStateFile = 'trainer_state.json'

/**
 * Reads the state of a checkpoint.
 * @throws `ERR_CHECKPOINT_MISSING`, `ERR_CHECKPOINT_INVALID`
 */
export async function readTrainerState(checkpoint: string): Promise<TrainerState> {
  const path = join(checkpoint, trainerStateFile)
  const asked = `Resuming from ${checkpoint}`
  const remedy = 'Name a checkpoint-<step> folder that a trainer of this package wrote'
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    throw new SwiftError({ code: 'ERR_CHECKPOINT_MISSING', asked, found: `${path} cannot be read`, remedy, cause })
  }
  let state: unknown
  try {
    state = JSON.parse(text)
  } catch (cause) {
    throw new SwiftError({ code: 'ERR_CHECKPOINT_INVALID', asked, found: `${path} is not JSON`, remedy, cause })
  }
  if (typeof state === 'object' && state !== null && 'format' in state && state.format === 'swift-trainer-state/1') {
    return state as TrainerState
  }
  throw new SwiftError({
    code: 'ERR_CHECKPOINT_INVALID',
    asked,
    found: `${path} is not of the format swift-trainer-state/1`,
    remedy,
  })
}
