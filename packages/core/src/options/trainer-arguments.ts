import { parseBudget, parseDeadline, parseDuration, parsePowerLimits, scheduleOptions } from '@swift/energy'
import { SwiftError, type RecomputePolicy } from '@swift/spec'
import { refuseUnbuilt } from './refuse-unbuilt.ts'
import { trainingOptions } from './option-tables.ts'
import { parseOptions } from './parse-options.ts'
import type { ScheduleType } from '../training/schedule.ts'
import type { TrainerOptions } from './trainer-options.ts'

/**
 * How a run is trained: validated options with their defaults. What depends on the model or the data (learning rate,
 * accumulation, epochs) stays undefined here and is derived and printed by the plan.
 *
 * @example
 * const args = new TrainerArguments({ outputDir: 'runs/first', learningRate: 2e-4, numTrainEpochs: 2 })
 */
export class TrainerArguments {
  /** Folder of the run. */
  readonly outputDir: string | undefined
  /** Passes over the dataset. */
  readonly numTrainEpochs: number | undefined
  /** Last optimizer step. */
  readonly maxSteps: number | undefined
  /** Packed rows per micro-batch. */
  readonly perDeviceTrainBatchSize: number
  /** Micro-batches per optimizer step. */
  readonly gradientAccumulationSteps: number | undefined
  /** Tokens an optimizer step should cover. */
  readonly tokensPerStep: number | undefined
  /** Peak learning rate. */
  readonly learningRate: number | undefined
  /** Course of the learning rate after warmup. */
  readonly lrSchedulerType: ScheduleType
  /** Fraction of the steps that warm up. */
  readonly warmupRatio: number
  /** Decoupled weight decay. */
  readonly weightDecay: number
  /** Decay of the first moment. */
  readonly adamBeta1: number
  /** Decay of the second moment. */
  readonly adamBeta2: number
  /** Largest gradient norm; 0 is none. */
  readonly maxGradNorm: number
  /** Id of the optimizer. */
  readonly optim: string
  /** Recompute policy, or `auto`. */
  readonly recompute: RecomputePolicy | 'auto'
  /** Seed of everything random. */
  readonly seed: number
  /** Steps between log lines. */
  readonly loggingSteps: number
  /** Steps between evaluations. */
  readonly evalSteps: number | undefined
  /** Steps between checkpoints. */
  readonly saveSteps: number | undefined
  /** Checkpoints to keep. */
  readonly saveTotalLimit: number
  /** Evaluations without a lower loss before stopping. */
  readonly earlyStopPatience: number | undefined
  /** Checkpoint folder, or `auto`. */
  readonly resumeFromCheckpoint: string | undefined
  /** Updates that may be skipped. */
  readonly skipNonFiniteSteps: number
  /** Limits of energy, carbon or money. */
  readonly energyBudget: string | undefined
  /** Bytes the run may use. */
  readonly memoryLimit: number | undefined
  /** Name of the carbon provider. */
  readonly carbon: TrainerOptions['carbon']
  /** Grid zone. */
  readonly zone: string | undefined
  /** When the run is to be over. */
  readonly deadline: string | undefined
  /** How long it takes. */
  readonly duration: string | undefined
  /** Grams per kWh above which it pauses. */
  readonly pauseAbove: number | undefined
  /** Limits of power and clocks. */
  readonly powerLimit: string | undefined
  /** What was given, without the defaults; written into the run folder. */
  readonly given: TrainerOptions

  /**
   * @throws `ERR_OPTION_UNKNOWN`, `ERR_OPTION_INVALID`, `ERR_ENERGY_BUDGET`; `ERR_PLUGIN_REQUIREMENT` for parallel sizes that no plugin here
   *   provides
   */
  constructor(options: TrainerOptions = {}) {
    const values = parseOptions('TrainerArguments', { ...trainingOptions, ...scheduleOptions }, { ...options })
    refuseUnbuilt(values)
    const read = <T>(name: keyof TrainerOptions): T => values[name] as T
    this.given = options
    this.outputDir = read('outputDir')
    this.numTrainEpochs = read('numTrainEpochs')
    this.maxSteps = read('maxSteps')
    this.perDeviceTrainBatchSize = read('perDeviceTrainBatchSize')
    this.gradientAccumulationSteps = read('gradientAccumulationSteps')
    this.tokensPerStep = read('tokensPerStep')
    this.learningRate = read('learningRate')
    this.lrSchedulerType = read('lrSchedulerType')
    this.warmupRatio = read('warmupRatio')
    this.weightDecay = read('weightDecay')
    this.adamBeta1 = read('adamBeta1')
    this.adamBeta2 = read('adamBeta2')
    this.maxGradNorm = read('maxGradNorm')
    this.optim = read('optim')
    this.recompute = read('recompute')
    this.seed = read('seed')
    this.loggingSteps = read('loggingSteps')
    this.evalSteps = read('evalSteps')
    this.saveSteps = read('saveSteps')
    this.saveTotalLimit = read('saveTotalLimit')
    this.earlyStopPatience = read('earlyStopPatience')
    this.resumeFromCheckpoint = read('resumeFromCheckpoint')
    this.skipNonFiniteSteps = read('skipNonFiniteSteps')
    this.energyBudget = read('energyBudget')
    this.memoryLimit = read('memoryLimit')
    this.carbon = read('carbon')
    this.zone = read('zone')
    this.deadline = read('deadline')
    this.duration = read('duration')
    this.pauseAbove = read('pauseAbove')
    this.powerLimit = read('powerLimit')
    // Refused now, not after hours of preparing data.
    if (this.energyBudget !== undefined) parseBudget(this.energyBudget)
    checkSchedule(this)
    if (this.gradientAccumulationSteps !== undefined && this.tokensPerStep !== undefined) {
      throw new SwiftError({
        code: 'ERR_OPTION_INVALID',
        asked: `TrainerArguments: gradientAccumulationSteps = ${this.gradientAccumulationSteps} with tokensPerStep = ${this.tokensPerStep}`,
        found: 'tokensPerStep decides gradientAccumulationSteps',
        remedy: 'Give one of the two',
      })
    }
  }
}

/** Refuses what contradicts itself or cannot be read. @throws `ERR_OPTION_INVALID` */
function checkSchedule({ deadline, duration, powerLimit, energyBudget }: TrainerArguments): void {
  const refuse = (asked: string, found: string, remedy: string): never => {
    throw new SwiftError({ code: 'ERR_OPTION_INVALID', asked: `TrainerArguments: ${asked}`, found, remedy })
  }
  // A deadline that is over is known to be when the run starts: a resumed run may be late.
  if (deadline !== undefined) parseDeadline(deadline, 0)
  if (duration !== undefined) {
    parseDuration(duration)
    if (deadline === undefined) refuse(`duration = ${duration}`, 'there is no deadline', 'Give a deadline too')
  }
  const limits = powerLimit === undefined ? [] : parsePowerLimits(powerLimit)
  const hasSoftBudget = energyBudget !== undefined && parseBudget(energyBudget).some(({ kind }) => kind === 'soft')
  if (limits.some(({ isSoft }) => isSoft) && !hasSoftBudget) {
    const remedy = 'Give one, such as energyBudget "soft 0.4kWh", or leave the word soft out'
    refuse(`powerLimit = ${powerLimit}`, 'a soft limit, and no soft energyBudget that would bring it', remedy)
  }
}
