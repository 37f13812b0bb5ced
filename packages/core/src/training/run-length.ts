import type { DataPosition } from '@swift/data'
import type { TrainerArguments } from '../options/trainer-arguments.ts'
import type { BatchSource } from './batch-source.ts'

/** Sequences a step should cover when nothing is said: as ms-swift's batch of 16. */
export const defaultSequencesPerStep = 16

/** Evaluations and checkpoints of a run, at most, when nothing is said: tiny epochs would spend it on saving. */
const mostIntervals = 10

/** How long a run is and how its batches make steps; derived once and printed by the plan. */
export interface RunLength {
  /** Micro-batches per optimizer step; the last step of an epoch may have fewer. */
  readonly gradientAccumulationSteps: number
  /** Optimizer steps per epoch. */
  readonly stepsPerEpoch: number
  /** Optimizer steps of the run. */
  readonly totalSteps: number
  /** Steps in which the learning rate rises. */
  readonly warmupSteps: number
  /** Steps between evaluations. */
  readonly evalSteps: number
  /** Steps between checkpoints. */
  readonly saveSteps: number
}

/** Derives the length of a run from its arguments and its data. */
export function deriveRunLength(args: TrainerArguments, source: BatchSource): RunLength {
  const gradientAccumulationSteps = args.gradientAccumulationSteps ?? derivedAccumulation(args, source)
  const stepsPerEpoch = Math.ceil(source.batchesPerEpoch / gradientAccumulationSteps)
  const epochs = args.numTrainEpochs ?? (args.maxSteps === undefined ? 1 : Number.POSITIVE_INFINITY)
  const ofEpochs = Math.max(1, Math.ceil(stepsPerEpoch * epochs))
  const totalSteps = Math.min(args.maxSteps ?? Number.POSITIVE_INFINITY, ofEpochs)
  const evalSteps = args.evalSteps ?? stepsPerEpoch * Math.ceil(totalSteps / stepsPerEpoch / mostIntervals)
  return {
    gradientAccumulationSteps,
    stepsPerEpoch,
    totalSteps,
    warmupSteps: Math.ceil(totalSteps * args.warmupRatio),
    evalSteps,
    saveSteps: args.saveSteps ?? evalSteps,
  }
}

function derivedAccumulation({ tokensPerStep }: TrainerArguments, source: BatchSource): number {
  const { batchesPerEpoch, sequencesPerEpoch, tokensPerEpoch } = source
  const perBatch = (total: number): number => Math.max(1, total / batchesPerEpoch)
  const wanted =
    tokensPerStep === undefined
      ? defaultSequencesPerStep / perBatch(sequencesPerEpoch)
      : tokensPerStep / perBatch(tokensPerEpoch)
  return Math.min(batchesPerEpoch, Math.max(1, Math.round(wanted)))
}

/** The positions of the micro-batches of the step that begins at `start`: never past the end of its epoch. */
export function positionsOfStep(
  start: DataPosition,
  { gradientAccumulationSteps }: RunLength,
  source: BatchSource,
): readonly DataPosition[] {
  const count = Math.min(gradientAccumulationSteps, source.batchesPerEpoch - start.batchIndex)
  return Array.from({ length: count }, (_, index) => ({ epoch: start.epoch, batchIndex: start.batchIndex + index }))
}

/** Where the step after one that ended with `last` begins. */
export function positionAfter(last: DataPosition, source: BatchSource): DataPosition {
  const batchIndex = last.batchIndex + 1
  return batchIndex < source.batchesPerEpoch
    ? { epoch: last.epoch, batchIndex }
    : { epoch: last.epoch + 1, batchIndex: 0 }
}
