import { RandomStream } from '@swift/tensor'
import type { DataPosition } from '@swift/data'
import type { CheckpointStore } from '../checkpoints/checkpoint-store.ts'
import type { BestEvaluation, TrainerState } from '../checkpoints/trainer-state.ts'
import type { RunBudget } from '../energy/run-budget.ts'
import type { RunEnergy } from '../energy/run-energy.ts'
import type { RunSchedule } from '../energy/run-schedule.ts'
import type { TrainingEvent } from '../events/training-event.ts'
import type { SwiftModel } from '../model/swift-model.ts'
import type { TrainerArguments } from '../options/trainer-arguments.ts'
import type { TrainingPlan } from '../planning/training-plan.ts'
import type { BatchSource } from './batch-source.ts'
import { evaluateLoss } from './evaluate.ts'
import type { LossModel } from './micro-batch.ts'
import { positionAfter, positionsOfStep, type RunLength } from './run-length.ts'
import type { RunLog } from './run-log.ts'
import { learningRateAt, type Schedule } from './schedule.ts'
import { energyNow, LogAverage, type StepNumbers } from './step-metrics.ts'
import { dispatchStep, type DispatchedStep } from './step-runner.ts'
import type { Trainable } from './trainable.ts'
import type { TrainerInit } from './trainer-init.ts'
import type { StopReason } from './train-result.ts'
import type { UpdateRule } from './update.ts'
import { Watchdog } from './watchdog.ts'

/** What a run is made of. */
export interface TrainingRunParts {
  /** The model. */
  readonly model: SwiftModel
  /** Computes losses; the model, or what a trainer puts around it. */
  readonly lossModel: LossModel & { isTraining: boolean }
  /** Trained parameters. */
  readonly trainables: readonly Trainable[]
  /** Arguments. */
  readonly args: TrainerArguments
  /** Training data. */
  readonly source: BatchSource
  /** Evaluation data. */
  readonly evaluation: BatchSource | undefined
  /** Length. */
  readonly length: RunLength
  /** Learning rates. */
  readonly learningRates: Schedule
  /** Update rule with its state. */
  readonly rule: UpdateRule
  /** The forecast. */
  readonly plan: TrainingPlan
  /** Phases. */
  readonly energy: RunEnergy
  /** Checkpoints. */
  readonly store: CheckpointStore
  /** `logging.jsonl`. */
  readonly log: RunLog
  /** Files of the run that are being written; where the disk refuses them, the run ends after its first step. */
  readonly written: Promise<unknown>
  /** State to continue from. */
  readonly resumed: TrainerState | undefined
  /** Checkpoint it came from. */
  readonly resumedFrom: string | undefined
  /** Ends the run after a step. */
  readonly signal: AbortSignal | undefined
  /** Limits of energy. */
  readonly budget: RunBudget | undefined
  /** When steps are made. */
  readonly schedule: RunSchedule | undefined
  /** Waited for before each step. */
  readonly beforeStep: TrainerInit['beforeStep']
  /** Hears of events. */
  readonly emit: (event: TrainingEvent) => void
}

/** The loop over steps, with evaluations and checkpoints between them. */
export class TrainingRun {
  readonly #parts: TrainingRunParts
  readonly #random: RandomStream
  readonly #watchdog: Watchdog
  readonly #average = new LogAverage()
  #step: number
  #position: DataPosition
  #updates: number
  #best: BestEvaluation | undefined
  #evaluationsSinceBest: number
  #tokens: number
  #lastSettled = 0
  #stepSeconds = 0
  #stepsTimed = 0
  #lastCheckpoint: string | undefined
  #savedStep: number
  #lastLoss: number | undefined

  constructor(parts: TrainingRunParts) {
    const { resumed, args } = parts
    this.#parts = parts
    this.#random = new RandomStream(args.seed, resumed?.random.counter ?? 0)
    this.#watchdog = new Watchdog(args.skipNonFiniteSteps, resumed?.skippedSteps ?? 0)
    this.#step = resumed?.step ?? 0
    this.#position = resumed?.position ?? { epoch: 0, batchIndex: 0 }
    this.#updates = resumed?.optimizer.updates ?? 0
    this.#best = resumed?.best
    this.#evaluationsSinceBest = resumed?.evaluationsSinceBest ?? 0
    this.#tokens = resumed?.tokens ?? 0
    this.#lastCheckpoint = parts.resumedFrom
    this.#savedStep = resumed?.step ?? 0
  }

  /** Steps done. */
  get step(): number {
    return this.#step
  }

  /** Last finished checkpoint. */
  get lastCheckpoint(): string | undefined {
    return this.#lastCheckpoint
  }

  /** Best evaluation. */
  get best(): BestEvaluation | undefined {
    return this.#best
  }

  /** Loss of the last step. */
  get lastLoss(): number | undefined {
    return this.#lastLoss
  }

  /** Tokens read, resumed ones included. */
  get tokens(): number {
    return this.#tokens
  }

  /** Updates skipped. */
  get skippedSteps(): number {
    return this.#watchdog.skipped
  }

  /** Time of the steps of this process, and their number. */
  get timing(): { readonly seconds: number; readonly steps: number } {
    return { seconds: this.#stepSeconds, steps: this.#stepsTimed }
  }

  /** Runs to the end, an early stop or an abort; the last state is in a checkpoint when it returns. */
  async run(): Promise<StopReason> {
    const { length, signal, lossModel, schedule, beforeStep, model, written } = this.#parts
    let pending: DispatchedStep | undefined
    let reason: StopReason = 'finished'
    const settlePending = async (): Promise<void> => {
      if (pending === undefined) return
      const step = pending
      pending = undefined
      await this.#settle(step)
      await written
    }
    const save = async (): Promise<string> => {
      await settlePending()
      return this.save()
    }
    /** Nothing is left to be done, and a kill loses nothing. */
    const settle = async (): Promise<void> => {
      await settlePending()
      if (this.#savedStep === this.#step) await model.device.flush()
      else await this.save()
    }
    lossModel.isTraining = true
    this.#lastSettled = performance.now()
    try {
      while (this.#step < length.totalSteps) {
        if (signal?.aborted === true) {
          reason = 'aborted'
          break
        }
        if (this.#isBudgetSpent()) {
          reason = 'energy-budget'
          break
        }
        const hasPaused = await schedule?.beforeStep({ step: this.#step, totalSteps: length.totalSteps, settle })
        if (hasPaused === true) {
          this.#lastSettled = performance.now()
          continue
        }
        if (beforeStep !== undefined) {
          await beforeStep({ step: this.#step + 1, save })
          // A pause is no part of the next step's time.
          if (pending === undefined) this.#lastSettled = performance.now()
        }
        const dispatched = await this.#dispatch()
        await settlePending()
        pending = dispatched
        if (!this.#isDue()) continue
        await settlePending()
        if (await this.#evaluateAndSave()) {
          reason = 'early-stop'
          break
        }
        this.#lastSettled = performance.now()
      }
      await settlePending()
      await written
      if (this.#savedStep !== this.#step) await this.save()
      return reason
    } finally {
      lossModel.isTraining = false
    }
  }

  /** A budget spent before the first step, as after a resume, ends the run too. */
  #isBudgetSpent(): boolean {
    const { budget, length } = this.#parts
    return budget?.look({ step: this.#step, totalSteps: length.totalSteps, tokens: this.#tokens }) === true
  }

  async #dispatch(): Promise<DispatchedStep> {
    const { lossModel, trainables, source, rule, plan, energy, length, learningRates } = this.#parts
    const positions = positionsOfStep(this.#position, length, source)
    const step = this.#step + 1
    const context = {
      model: lossModel,
      trainables,
      source,
      rule,
      recompute: plan.fields.recompute,
      random: this.#random,
      energy,
      watchdog: this.#watchdog,
    }
    const learningRate = learningRateAt(learningRates, step)
    const update = this.#updates + 1
    const lastCheckpoint = this.#lastCheckpoint
    const dispatched = await dispatchStep(context, { step, update, positions, learningRate, lastCheckpoint })
    this.#step = step
    if (!dispatched.skipped) this.#updates = update
    this.#position = positionAfter(positions.at(-1) ?? this.#position, source)
    return dispatched
  }

  /** Waits for the numbers of a step and tells them. @throws `ERR_LOSS_NOT_FINITE` */
  async #settle(dispatched: DispatchedStep): Promise<void> {
    const { source, args, length, model, energy, emit, log } = this.#parts
    const { request, tokens, trainedTokens, trainedWeight, skipped } = dispatched
    const scalars = await dispatched.scalars
    const { step, learningRate } = request
    if (!this.#watchdog.looksFirst) this.#watchdog.admits({ step, learningRate, ...scalars }, this.#lastCheckpoint)
    const now = performance.now()
    const durationMs = now - this.#lastSettled
    this.#lastSettled = now
    this.#stepSeconds += durationMs / 1000
    this.#stepsTimed += 1
    this.#tokens += tokens
    const last = request.positions.at(-1)
    const epoch = last === undefined ? 0 : last.epoch + (last.batchIndex + 1) / source.batchesPerEpoch
    const numbers: StepNumbers = {
      step,
      epoch,
      trainedWeight,
      trainedTokens,
      tokens,
      learningRate,
      durationMs,
      skipped,
      ...scalars,
    }
    const loss = scalars.lossSum / Math.max(trainedWeight, Number.MIN_VALUE)
    if (!skipped) this.#lastLoss = loss
    const { liveBytes, peakBytes } = model.device.statistics()
    const joules = energyNow(energy)
    emit({
      type: 'step',
      step,
      totalSteps: length.totalSteps,
      epoch,
      loss,
      tokenAccuracy: scalars.correct / Math.max(1, trainedTokens),
      gradientNorm: scalars.gradientNorm,
      learningRate,
      tokens,
      trainedTokens,
      durationMs,
      tokensPerSecond: (1000 * tokens) / Math.max(durationMs, 1e-3),
      liveBytes,
      peakBytes,
      ...joules,
      remainingMs: (1000 * this.#stepSeconds * (length.totalSteps - step)) / this.#stepsTimed,
      skipped,
    })
    if (skipped) {
      const message = `The update of step ${step} was skipped: loss ${loss}, gradient norm ${scalars.gradientNorm}`
      emit({ type: 'note', code: 'WARN_STEP_SKIPPED', message })
    }
    this.#average.add(numbers)
    if (step % args.loggingSteps !== 0 && step !== length.totalSteps && step !== 1) return
    const average = this.#average.take()
    if (average === undefined) return
    const record = {
      type: 'log' as const,
      step,
      epoch,
      loss: average.loss,
      tokenAccuracy: average.tokenAccuracy,
      gradientNorm: scalars.gradientNorm,
      learningRate,
      tokensPerSecond: average.tokensPerSecond,
      tokens: this.#tokens,
      peakBytes,
      measuredJoules: joules.measuredJoules,
      modelledJoules: joules.modelledJoules,
    }
    emit(record)
    await log.append(record)
  }

  #isEvaluationDue(): boolean {
    const { evaluation, length } = this.#parts
    return evaluation !== undefined && (this.#step % length.evalSteps === 0 || this.#step === length.totalSteps)
  }

  #isDue(): boolean {
    const { length } = this.#parts
    return this.#isEvaluationDue() || this.#step % length.saveSteps === 0
  }

  /** @returns whether to stop early */
  async #evaluateAndSave(): Promise<boolean> {
    const { args, length } = this.#parts
    const isBest = this.#isEvaluationDue() && (await this.#evaluate())
    // The best state must be on disk, whatever the save steps are.
    if (isBest || this.#step % length.saveSteps === 0) await this.save()
    return args.earlyStopPatience !== undefined && this.#evaluationsSinceBest >= args.earlyStopPatience
  }

  async #evaluate(): Promise<boolean> {
    const { evaluation, lossModel, energy, emit, log } = this.#parts
    using _phase = energy.phase(`eval/epoch:${Math.max(0, this.#epochOfLastStep())}`, lossModel.device)
    const { loss, tokenAccuracy } = await evaluateLoss(lossModel, evaluation as BatchSource)
    const isBest = this.#best === undefined || loss < this.#best.loss
    if (isBest) this.#best = { step: this.#step, loss }
    this.#evaluationsSinceBest = isBest ? 0 : this.#evaluationsSinceBest + 1
    const record = { type: 'evaluation' as const, step: this.#step, loss, tokenAccuracy, isBest }
    emit(record)
    await log.append(record)
    return isBest
  }

  #epochOfLastStep(): number {
    return this.#position.batchIndex === 0 ? this.#position.epoch - 1 : this.#position.epoch
  }

  /** Writes a checkpoint of the present state. @throws `ERR_DISK_FULL`; the state in memory is not lost */
  async save(): Promise<string> {
    const { model, rule, store, energy, emit, args } = this.#parts
    const started = performance.now()
    await model.device.flush()
    using _phase = energy.phase('checkpoint')
    const path = await store.write(model, rule.state, { ...this.#state(), ledger: await energy.snapshot() }, args.given)
    this.#lastCheckpoint = path
    this.#savedStep = this.#step
    emit({ type: 'checkpoint', step: this.#step, path, durationMs: performance.now() - started })
    return path
  }

  #state(): Omit<TrainerState, 'ledger'> {
    const { args, length, source, rule } = this.#parts
    return {
      format: 'swift-trainer-state/1',
      step: this.#step,
      totalSteps: length.totalSteps,
      position: this.#position,
      random: { seed: args.seed, counter: this.#random.counter },
      optimizer: { id: rule.optimizer.id, updates: this.#updates },
      datasetFingerprint: source.fingerprint,
      gradientAccumulationSteps: length.gradientAccumulationSteps,
      tokens: this.#tokens,
      skippedSteps: this.#watchdog.skipped,
      best: this.#best,
      evaluationsSinceBest: this.#evaluationsSinceBest,
    }
  }
}
