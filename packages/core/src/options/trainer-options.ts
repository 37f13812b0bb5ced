import type { ScheduleOptions } from './schedule-options.ts'

/**
 * Options of {@link TrainerArguments}; names, ranges and defaults are those of `optionTables.training` and, for
 * {@link ScheduleOptions}, of `scheduleOptions`.
 */
export interface TrainerOptions extends ScheduleOptions {
  /** Folder of the run: checkpoints, logs, energy ledger. Default `output/<model>-<date>-<time>`. */
  readonly outputDir?: string
  /** Passes over the dataset. Default 1, or as many as `maxSteps` needs. */
  readonly numTrainEpochs?: number
  /** Stop after this many optimizer steps. */
  readonly maxSteps?: number
  /** Packed rows (sequences without packing) per micro-batch. Default 1. */
  readonly perDeviceTrainBatchSize?: number
  /** Micro-batches per optimizer step. Default: from `tokensPerStep`, else about 16 sequences. */
  readonly gradientAccumulationSteps?: number
  /** Tokens an optimizer step should cover; sets `gradientAccumulationSteps`. */
  readonly tokensPerStep?: number
  /** Peak learning rate. Default 1e-4 with an adapter, 1e-5 for full fine-tuning. */
  readonly learningRate?: number
  /** Course of the learning rate after warmup. Default `cosine`. */
  readonly lrSchedulerType?: 'constant' | 'linear' | 'cosine' | 'cosine_with_min_lr'
  /** Fraction of the steps in which the learning rate rises from 0. Default 0. */
  readonly warmupRatio?: number
  /** Decoupled weight decay of matrices. Default 0.1. */
  readonly weightDecay?: number
  /** Decay of the first moment. Default 0.9. */
  readonly adamBeta1?: number
  /** Decay of the second moment. Default 0.95. */
  readonly adamBeta2?: number
  /** Largest L2 norm of all gradients; 0 turns clipping off. Default 1. */
  readonly maxGradNorm?: number
  /** `adamw`, `adamw_8bit`, `sgd`, or the optimizer of a plugin. Default `adamw`. */
  readonly optim?: string
  /** What backward computes again to save memory. Default `auto`: the least that fits, `selective` where it costs next to nothing. */
  readonly recompute?: 'auto' | 'none' | 'selective' | 'full'
  /** Decides initial values, order of the data and dropout. Default 42. */
  readonly seed?: number
  /** Steps between log lines. Default 5. */
  readonly loggingSteps?: number
  /** Steps between evaluations. Default: the end of every epoch, at most ten times a run. */
  readonly evalSteps?: number
  /** Steps between checkpoints. Default: `evalSteps`. */
  readonly saveSteps?: number
  /** Checkpoints to keep: the last ones and always the best. Default 2. */
  readonly saveTotalLimit?: number
  /** Stop after this many evaluations without a lower loss. */
  readonly earlyStopPatience?: number
  /** A checkpoint folder, or `auto` for the last one in `outputDir`. */
  readonly resumeFromCheckpoint?: string
  /** Updates with a NaN or infinite loss or gradient to skip before the run stops. Default 0. */
  readonly skipNonFiniteSteps?: number
  /**
   * Limits of the whole run, resumed parts included: `0.5kWh`, `2MJ`, `300gCO2e`, `2EUR@0.30` (at 0.30 EUR per kWh),
   * `0.02J/token`, separated by commas. A spent one ends the run after its step with a checkpoint; `soft 0.4kWh`
   * warns, and sets the soft limits of `powerLimit`. Pauses count too. Default: none.
   */
  readonly energyBudget?: string
  /** Bytes the run may use. Default: the memory available now. */
  readonly memoryLimit?: number
  /** Attention in O(S) memory; false is refused, there is no other kernel. Default true. */
  readonly useFlashAttention?: boolean
  /** Processes that share a sequence; above 1 needs a plugin. Default 1. */
  readonly sequenceParallelSize?: number
  /** Sizes of parallel groups; above 1 needs a plugin. */
  readonly parallel?: ParallelSizes
}

/** Sizes of parallel groups; 1 is none. */
export interface ParallelSizes {
  /** Processes that share each weight matrix. */
  readonly tensorModelParallelSize?: number
  /** Processes that hold consecutive layers. */
  readonly pipelineModelParallelSize?: number
  /** Processes that share the experts of a layer. */
  readonly expertModelParallelSize?: number
  /** Processes that share each expert's matrices. */
  readonly expertTensorParallelSize?: number
  /** Processes that share a sequence. */
  readonly contextParallelSize?: number
}
