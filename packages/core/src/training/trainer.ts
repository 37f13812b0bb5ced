import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SwiftError, type LedgerEvent, type OptimizerState } from '@swift/spec'
import type { Tensor } from '@swift/tensor'
import { writeFileAtomically } from '../checkpoints/atomic-folder.ts'
import { CheckpointStore, restoreCheckpoint } from '../checkpoints/checkpoint-store.ts'
import type { TrainerState } from '../checkpoints/trainer-state.ts'
import { RunBudget } from '../energy/run-budget.ts'
import { checkCarbonSchedule, runCarbon, type RunCarbon } from '../energy/run-carbon.ts'
import { RunEnergy } from '../energy/run-energy.ts'
import { restorePower, RunPower } from '../energy/run-power.ts'
import { RunSchedule } from '../energy/run-schedule.ts'
import { EventStream } from '../events/event-stream.ts'
import type { TrainingEvent } from '../events/training-event.ts'
import { dataOptions } from '../options/option-tables.ts'
import { parseOptions } from '../options/parse-options.ts'
import { TrainerArguments } from '../options/trainer-arguments.ts'
import { comparePlan } from '../planning/compare-plan.ts'
import { makePlan } from '../planning/make-plan.ts'
import type { TrainingPlan } from '../planning/training-plan.ts'
import { pluginRegistry } from '../plugins/plugin-registry.ts'
import { prepareBatches, type PreparedBatches } from './prepare-batches.ts'
import { deriveRunLength, type RunLength } from './run-length.ts'
import { checkResume } from './check-resume.ts'
import { defaultRunFolder, openRunFolder } from './run-folder.ts'
import { RunLog } from './run-log.ts'
import type { Trainable } from './trainable.ts'
import { resumeHint, type StopReason, type TrainResult } from './train-result.ts'
import { programFields, type TrainerInit } from './trainer-init.ts'
import { TrainingRun } from './training-run.ts'
import { decaysMatrices, type UpdateRule } from './update.ts'

/** Peak learning rates when nothing is said: ms-swift's. */
const defaultLearningRates = { adapter: 1e-4, full: 1e-5 }

interface Prepared {
  readonly batches: PreparedBatches
  readonly length: RunLength
  readonly learningRate: number
  readonly rule: UpdateRule
  readonly trainables: readonly Trainable[]
}

/**
 * The shared trainer: prepares the data, prints the plan, trains, evaluates, writes checkpoints, accounts the energy.
 * Use {@link SftTrainer} or {@link PretrainTrainer}.
 */
export abstract class Trainer implements Disposable {
  /** What the rows are. */
  protected abstract readonly purpose: 'chat' | 'pretrain'
  /** Arguments of the run. */
  readonly args: TrainerArguments
  readonly #init: TrainerInit
  readonly #events = new EventStream<TrainingEvent>()
  #run: TrainingRun | undefined
  #carbon: RunCarbon | undefined
  #optimizerState: OptimizerState<Tensor> = new Map()

  /** @throws `ERR_OPTION_UNKNOWN`, `ERR_OPTION_INVALID` for options of the data */
  constructor(init: TrainerInit) {
    // The data themselves are trainDataset and evalDataset here; their names in files would be ignored.
    const { dataset: _dataset, valDataset: _valDataset, ...table } = dataOptions
    parseOptions(
      'The trainer',
      table,
      Object.fromEntries(Object.entries(init).filter(([name]) => !programFields.has(name))),
    )
    this.#init = init
    this.args = init.args ?? new TrainerArguments()
  }

  /**
   * Calls `listener` with each event of a type; `*` is all.
   * @returns call it to stop
   */
  on<Type extends TrainingEvent['type'] | '*'>(
    type: Type,
    listener: (event: Type extends '*' ? TrainingEvent : Extract<TrainingEvent, { readonly type: Type }>) => void,
  ): () => void {
    return this.#events.on(type, listener)
  }

  /** Reads the events from now on, to the end of the run. */
  [Symbol.asyncIterator](): AsyncGenerator<TrainingEvent, void> {
    return this.#events[Symbol.asyncIterator]()
  }

  /**
   * Forecasts the run and writes nothing.
   * @throws `ERR_PLAN_MEMORY` when it cannot fit
   */
  async plan(): Promise<TrainingPlan> {
    const folder = await mkdtemp(join(tmpdir(), 'swift-plan-'))
    const { ledger } = this.#init
    const energy =
      ledger === undefined
        ? await RunEnergy.open(join(folder, 'energy'), { onEvent: this.#onLedger })
        : RunEnergy.over(ledger)
    try {
      const prepared = await this.#prepare(folder, energy)
      return await this.#plan(prepared, energy)
    } finally {
      await energy.close()
      await rm(folder, { recursive: true, force: true })
    }
  }

  /**
   * Trains to the end of the run, an early stop, or the end of the step in which the signal was aborted; the last
   * state is then in a checkpoint. Waits where `deadline` and `pauseAbove` say so; `powerLimit` holds until it returns.
   * @throws `ERR_PLAN_MEMORY`, `ERR_LOSS_NOT_FINITE`, `ERR_DISK_FULL`, `ERR_RUN_EXISTS`, `ERR_RESUME_MISMATCH`,
   *   `ERR_CHECKPOINT_MISSING`, `ERR_CHECKPOINT_INVALID`, `ERR_POWER_SETTING`, `ERR_CARBON_FORECAST`, and the coded errors of data and kernels. Finished checkpoints
   *   are never harmed
   */
  async train(): Promise<TrainResult> {
    try {
      checkCarbonSchedule(this.args, this.#runCarbon())
      const folder = this.args.outputDir ?? defaultRunFolder(this.#init.model.name)
      const { runFolder, path, state, notes } = await openRunFolder(folder, this.args.resumeFromCheckpoint)
      this.#events.emit({ type: 'start', runFolder, resumedStep: state?.step ?? 0, resumedFrom: path })
      for (const note of notes) this.#events.emit(note)
      const { ledger } = this.#init
      const energy =
        ledger === undefined
          ? await RunEnergy.open(join(runFolder, 'energy'), {
              resume: state?.ledger,
              onEvent: this.#onLedger,
            })
          : RunEnergy.over(ledger)
      await using _energy = energy
      if (ledger !== undefined) await restorePower(this.#onLedger)
      await using power = await RunPower.open(this.args.powerLimit, ({ code, message }) => {
        this.#events.emit({ type: 'note', code, message })
        // The event tells it; a full disk is the checkpoint's to tell.
        energy.ledger?.note(code, message).catch(() => undefined)
      })
      return await this.#train(runFolder, path, state, energy, power)
    } finally {
      this.#events.end()
    }
  }

  /**
   * Writes a checkpoint of the present state of a run that a full disk stopped, once there is space.
   * @throws `ERR_TRAINER_IDLE`, `ERR_DISK_FULL`
   */
  async saveCheckpoint(): Promise<string> {
    if (this.#run !== undefined) return this.#run.save()
    throw new SwiftError({
      code: 'ERR_TRAINER_IDLE',
      asked: 'Saving a checkpoint',
      found: 'there is no run that began and was stopped',
      remedy: 'Call train(); it saves by itself at the end',
    })
  }

  /** Frees the optimizer's state that a run stopped by a full disk has kept. The model is the caller's. */
  dispose(): void {
    for (const tensors of this.#optimizerState.values()) for (const tensor of tensors.values()) tensor.release()
    this.#optimizerState.clear()
    this.#run = undefined
  }

  /** As {@link dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }

  readonly #onLedger = ({ code, message }: LedgerEvent): void => this.#events.emit({ type: 'note', code, message })

  /** Asked for once, so that a provider's answers are too. */
  #runCarbon(): RunCarbon {
    this.#carbon ??= runCarbon(this.args, this.#init.carbon)
    return this.#carbon
  }

  async #prepare(runFolder: string, energy: RunEnergy): Promise<Prepared> {
    const { model, trainDataset, evalDataset, signal } = this.#init
    const {
      maxLength,
      packing,
      truncationStrategy,
      lossScale,
      columns,
      chatTemplateKwargs,
      maxRejectedFraction,
      splitDatasetRatio,
    } = this.#init
    const given = {
      maxLength,
      packing,
      truncationStrategy,
      lossScale,
      columns,
      chatTemplateKwargs,
      maxRejectedFraction,
      splitDatasetRatio,
    }
    const { args } = this
    const trainables = model.trainables()
    const optimizer = await pluginRegistry().optimizer(args.optim)
    using _tokenise = energy.phase('tokenise')
    const batches = await prepareBatches({
      model,
      args,
      purpose: this.purpose,
      trainDataset,
      evalDataset,
      options: Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined)),
      runFolder,
      signal,
      emit: (event) => this.#events.emit(event),
    })
    const known: Readonly<Record<string, unknown>> = { beta1: args.adamBeta1, beta2: args.adamBeta2 }
    const chosen = Object.fromEntries(Object.entries(known).filter(([name]) => name in optimizer.options))
    const state: OptimizerState<Tensor> = new Map()
    return {
      batches,
      length: deriveRunLength(args, batches.train),
      learningRate: args.learningRate ?? defaultLearningRates[model.tuner.kind === 'full' ? 'full' : 'adapter'],
      trainables,
      rule: {
        optimizer,
        options: parseOptions(`The optimizer ${optimizer.id}`, optimizer.options, chosen),
        state,
        weightDecay: args.weightDecay,
        decays: this.#init.decays ?? decaysMatrices,
        maxGradNorm: args.maxGradNorm,
      },
    }
  }

  async #plan({ batches, length, learningRate, rule }: Prepared, energy: RunEnergy): Promise<TrainingPlan> {
    const carbon = this.#runCarbon()
    const { model } = this.#init
    return makePlan({ model, args: this.args, source: batches.train, length, learningRate, rule, energy, carbon })
  }

  async #train(
    runFolder: string,
    path: string | undefined,
    resumed: TrainerState | undefined,
    energy: RunEnergy,
    power: RunPower,
  ): Promise<TrainResult> {
    const { model, signal } = this.#init
    const prepared = await this.#prepare(runFolder, energy)
    const { batches, length, rule } = prepared
    if (resumed !== undefined) {
      checkResume(resumed, {
        datasetFingerprint: batches.train.fingerprint,
        gradientAccumulationSteps: length.gradientAccumulationSteps,
        optim: rule.optimizer.id,
        seed: this.args.seed,
      })
    }
    const plan = await this.#plan(prepared, energy)
    this.#events.emit({ type: 'plan', plan })
    const log = await RunLog.open(runFolder, resumed?.step ?? 0)
    // The disk takes its time to sync them: the first step is made meanwhile.
    const written = Promise.all([
      writeFileAtomically(join(runFolder, 'args.json'), `${JSON.stringify(this.args.given, null, 2)}\n`),
      writeFileAtomically(join(runFolder, 'plan.json'), `${JSON.stringify(plan, null, 2)}\n`),
    ])
    // The run awaits it; where it ends before that, by an error of its own, this one must not end the process.
    written.catch(() => undefined)
    const restored =
      path === undefined || resumed === undefined ? new Map() : await restoreCheckpoint(path, model, resumed)
    const full: UpdateRule = { ...rule, state: restored }
    const network = model.network
    const lossModel = {
      device: network.device,
      loss: network.loss.bind(network),
      get isTraining() {
        return model.isTraining
      },
      set isTraining(value: boolean) {
        model.isTraining = value
      },
    }
    await model.device.flush()
    const others = model.device.statistics().liveBytes - plan.memory.modelBytes
    model.device.resetStatistics()
    const emit = (event: TrainingEvent): void => this.#events.emit(event)
    const carbon = this.#runCarbon()
    const budget = await RunBudget.open(this.args.energyBudget, carbon, energy, emit, () => power.lower())
    const schedule = RunSchedule.open({
      args: this.args,
      carbon,
      gate: this.#init.carbonGate,
      plannedStepMs: 1000 * plan.secondsPerStep,
      energy,
      budget,
      signal,
      emit,
      append: (record) => log.append(record),
    })
    const run = new TrainingRun({
      model,
      lossModel,
      trainables: prepared.trainables,
      args: this.args,
      source: batches.train,
      evaluation: batches.evaluation,
      length,
      learningRates: {
        type: this.args.lrSchedulerType,
        peak: prepared.learningRate,
        totalSteps: length.totalSteps,
        warmupSteps: length.warmupSteps,
      },
      rule: full,
      plan,
      energy,
      store: new CheckpointStore(runFolder, this.args.saveTotalLimit),
      log,
      written,
      resumed,
      resumedFrom: path,
      signal,
      budget,
      schedule,
      beforeStep: this.#init.beforeStep,
      emit,
    })
    this.#run = run
    this.#optimizerState = full.state
    const reason = await this.#runToEnd(run)
    await power.close()
    await budget?.settle()
    await schedule?.settle()
    const peakBytes = model.device.statistics().peakBytes - Math.max(0, others)
    // Whoever goes on with the model, such as a server, needs the memory of its tensors and not that of a step.
    model.device.trim()
    const pausedMs = schedule?.pausedMs ?? 0
    return this.#finish(runFolder, reason, run, plan, peakBytes, pausedMs, resumed, energy, batches)
  }

  /** Runs and frees the optimizer's state, except after a full disk: {@link saveCheckpoint} still needs it. */
  async #runToEnd(run: TrainingRun): Promise<StopReason> {
    try {
      const reason = await run.run()
      this.dispose()
      return reason
    } catch (error) {
      if (!SwiftError.isInstance(error, 'ERR_DISK_FULL')) this.dispose()
      throw error
    }
  }

  async #finish(
    runFolder: string,
    reason: StopReason,
    run: TrainingRun,
    plan: TrainingPlan,
    peakBytes: number,
    pausedMs: number,
    resumed: TrainerState | undefined,
    energy: RunEnergy,
    { train }: PreparedBatches,
  ): Promise<TrainResult> {
    const { seconds, steps } = run.timing
    const tokens = run.tokens - (resumed?.tokens ?? 0)
    const { best, lastCheckpoint } = run
    const result: TrainResult = {
      reason,
      step: run.step,
      totalSteps: plan.totalSteps,
      runFolder,
      lastCheckpoint,
      bestCheckpoint: best === undefined ? undefined : join(runFolder, `checkpoint-${best.step}`),
      loss: run.lastLoss,
      bestEvaluationLoss: best?.loss,
      tokens,
      epochs: tokens / Math.max(1, train.tokensPerEpoch),
      durationMs: seconds * 1000,
      pausedMs,
      skippedSteps: run.skippedSteps,
      planComparison: steps === 0 ? undefined : comparePlan(plan, peakBytes, steps, seconds),
      energy: await energy.report(this.#runCarbon()),
      energyUnavailable: energy.unavailable,
      resumeHint: resumeHint(reason, runFolder, run.step, lastCheckpoint),
    }
    const { energy: _energy, ...summary } = result
    await writeFileAtomically(join(runFolder, 'trainer_state.json'), `${JSON.stringify(summary, null, 2)}\n`)
    this.#events.emit({ type: 'end', result })
    return result
  }
}

/** Fine-tunes on rows of chats: the loss is on the assistant's turns. */
export class SftTrainer extends Trainer {
  protected override readonly purpose = 'chat'
}

/** Trains on documents: the loss is on every token. */
export class PretrainTrainer extends Trainer {
  protected override readonly purpose = 'pretrain'
}
