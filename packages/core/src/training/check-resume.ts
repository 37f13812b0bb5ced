import { SwiftError } from '@swift/spec'
import type { TrainerState } from '../checkpoints/trainer-state.ts'

/** What must be the same in a run that continues another. */
export interface ResumeFacts {
  /** Fingerprint of the training data. */
  readonly datasetFingerprint: string
  /** Micro-batches per step. */
  readonly gradientAccumulationSteps: number
  /** Id of the optimizer. */
  readonly optim: string
  /** Seed of the run. */
  readonly seed: number
}

/**
 * Refuses to continue a run under what would make it another run.
 * @throws `ERR_RESUME_MISMATCH` naming every difference
 */
export function checkResume(state: TrainerState, now: ResumeFacts): void {
  const { optimizer, random, gradientAccumulationSteps, datasetFingerprint } = state
  const compared: readonly (readonly [name: string, was: unknown, is: unknown])[] = [
    ['gradientAccumulationSteps', gradientAccumulationSteps, now.gradientAccumulationSteps],
    ['optim', optimizer.id, now.optim],
    ['seed', random.seed, now.seed],
  ]
  const differences = [
    ...(datasetFingerprint === now.datasetFingerprint ? [] : ['the dataset, its tokenisation or its packing differs']),
    ...compared
      .filter(([, was, is]) => was !== is)
      .map(([name, was, is]) => `${name} was ${String(was)} and is ${String(is)}`),
  ]
  if (differences.length === 0) return
  throw new SwiftError({
    code: 'ERR_RESUME_MISMATCH',
    asked: `Resuming at step ${state.step}`,
    found: differences.join('; '),
    remedy: 'Resume with the data and arguments of the checkpoint (its args.json), or start anew with its adapter',
  })
}
