import type { RecomputePolicy } from '@swift/spec'
import type { RandomStream } from '@swift/tensor'
import type { DataPosition } from '@swift/data'
import type { RunEnergy } from '../energy/run-energy.ts'
import type { BatchSource } from './batch-source.ts'
import { runMicroBatch, type LossModel } from './micro-batch.ts'
import { RunningSums } from './running-sums.ts'
import { clearGradients, type Trainable } from './trainable.ts'
import { applyUpdate, clip, type UpdateRule } from './update.ts'
import type { Watchdog } from './watchdog.ts'
import { yieldToEventLoop } from './yield-to-event-loop.ts'

/** What every step of a run shares. */
export interface StepContext {
  /** The model. */
  readonly model: LossModel
  /** Its trained parameters. */
  readonly trainables: readonly Trainable[]
  /** Training data. */
  readonly source: BatchSource
  /** Update rule with its state. */
  readonly rule: UpdateRule
  /** What backward computes again. */
  readonly recompute: RecomputePolicy
  /** Numbers dropout. */
  readonly random: RandomStream
  /** Phases. */
  readonly energy: RunEnergy
  /** Looks at steps before their update when updates may be skipped. */
  readonly watchdog: Watchdog
}

/** One step to run. */
export interface StepRequest {
  /** Number of the step, from 1. */
  readonly step: number
  /** Number of the update, from 1. */
  readonly update: number
  /** Its micro-batches. */
  readonly positions: readonly DataPosition[]
  /** Learning rate. */
  readonly learningRate: number
  /** Last checkpoint, for messages. */
  readonly lastCheckpoint: string | undefined
}

/** Scalars of a step, still on their way from the device. */
export interface DispatchedStep {
  /** The request. */
  readonly request: StepRequest
  /** What its batches hold. */
  readonly tokens: number
  /** Targets. */
  readonly trainedTokens: number
  /** Sum of target weights. */
  readonly trainedWeight: number
  /** Whether its update was skipped. */
  readonly skipped: boolean
  /** Sums and gradient norm. */
  readonly scalars: Promise<{ readonly lossSum: number; readonly correct: number; readonly gradientNorm: number }>
}

/**
 * Queues an optimizer step: micro-batches, clipping, update. It waits for nothing on the device, unless the watchdog
 * looks first; between micro-batches the event loop has its turn. Gradients are gone when it returns.
 */
export async function dispatchStep(context: StepContext, request: StepRequest): Promise<DispatchedStep> {
  const { model, trainables, source, rule, recompute, random, energy, watchdog } = context
  const { positions, learningRate, update } = request
  const held = positions.map((position) => source.describe(position))
  const total = (of: (description: (typeof held)[number]) => number): number =>
    held.reduce((sum, entry) => sum + of(entry), 0)
  const trainedWeight = total((entry) => entry.trainedWeight)
  using sums = new RunningSums()
  using phase = energy.phase(`train/epoch:${positions[0]?.epoch ?? 0}`, model.device)
  try {
    for (const position of positions) {
      // A step without any target has a zero gradient, not 0/0.
      const stepWeight = trainedWeight > 0 ? trainedWeight : 1
      sums.add(runMicroBatch(model, source.batch(position), { recompute, random, stepWeight, phase }))
      await yieldToEventLoop()
    }
    using _optimizer = phase.phase('optimizer')
    const norm = clip(trainables, rule.maxGradNorm)
    const reads = Promise.all([sums.read(), norm?.item() ?? 0])
    norm?.release()
    const scalars = reads.then(([read, gradientNorm]) => ({ ...read, gradientNorm }))
    // Whoever settles the step hears of a failure; an early exit must not end the process.
    scalars.catch(() => undefined)
    const skipped = watchdog.looksFirst && !watchdog.admits({ ...request, ...(await scalars) }, request.lastCheckpoint)
    if (!skipped) applyUpdate(rule, trainables, learningRate, update)
    return {
      request,
      tokens: total((entry) => entry.tokens),
      trainedTokens: total((entry) => entry.trainedTokens),
      trainedWeight,
      skipped,
      scalars,
    }
  } finally {
    clearGradients(trainables)
  }
}
