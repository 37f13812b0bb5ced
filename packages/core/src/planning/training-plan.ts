import type { CarbonFactor, ComputeDType, RecomputePolicy } from '@swift/spec'
import type { ScheduleType } from '../training/schedule.ts'
import type { RunLength } from '../training/run-length.ts'
import type { MachineProbe } from './machine-probe.ts'
import { printPlan } from './print-plan.ts'
import type { MemoryForecast, WorkForecast } from './step-forecast.ts'

/** Power while the machine was probed, in watts. */
export interface PowerForecast {
  /** By measured sources; undefined where nothing is measured. */
  readonly measuredWatts: number | undefined
  /** By models; undefined where nothing is modelled. */
  readonly modelledWatts: number | undefined
}

/** A forecast by class of energy; the two are never added. Undefined is unavailable. */
export interface ForecastByClass {
  /** From measured power. */
  readonly measured: number | undefined
  /** From modelled power. */
  readonly modelled: number | undefined
}

/** Everything a plan states. */
export interface TrainingPlanFields {
  /** Name of the model. */
  readonly model: string
  /** Device the run computes on. */
  readonly device: string
  /** Instruction set in use; undefined off the CPU. */
  readonly instructionSet: string | undefined
  /** Compute threads; undefined off the CPU. */
  readonly threads: number | undefined
  /** Precision of the inputs of matrix products. */
  readonly computeDtype: ComputeDType
  /** Parameters of the model, adapters included. */
  readonly parameters: number
  /** Parameters that are trained. */
  readonly trainedParameters: number
  /** What is trained: `lora`, `full`, … */
  readonly tuner: string
  /** Format of the frozen linear weights. */
  readonly weightFormat: string
  /** Tokens of the longest batch. */
  readonly longestBatchTokens: number
  /** Tokens of one epoch. */
  readonly tokensPerEpoch: number
  /** Sequences of one epoch. */
  readonly sequencesPerEpoch: number
  /** Batches of one epoch. */
  readonly batchesPerEpoch: number
  /** Steps, accumulation, warmup. */
  readonly length: RunLength
  /** Peak learning rate. */
  readonly learningRate: number
  /** Its course. */
  readonly lrSchedulerType: ScheduleType
  /** Id of the optimizer. */
  readonly optimizer: string
  /** What backward computes again. */
  readonly recompute: RecomputePolicy
  /** Why. */
  readonly recomputeReason: string
  /** Peak memory, itemised. */
  readonly memory: MemoryForecast
  /** Bytes the run may use. */
  readonly limitBytes: number
  /** Mean counts of one optimizer step. */
  readonly workPerStep: WorkForecast
  /** Mean time of one optimizer step. */
  readonly secondsPerStep: number
  /** What the times rest on. */
  readonly probe: MachineProbe
  /** What the joules rest on; undefined without a ledger. */
  readonly power: PowerForecast | undefined
  /** Grid factor of the carbon. */
  readonly carbonFactor: CarbonFactor
  /** Why the factor is not the one that was asked for; undefined: it is. */
  readonly carbonNote: string | undefined
}

/** The forecast of a run: printed before its first step, compared with it at its end. */
export class TrainingPlan {
  /** What it states. */
  readonly fields: TrainingPlanFields

  constructor(fields: TrainingPlanFields) {
    this.fields = fields
  }

  /** Peak memory, itemised. */
  get memory(): MemoryForecast {
    return this.fields.memory
  }

  /** Steps of the run. */
  get totalSteps(): number {
    return this.fields.length.totalSteps
  }

  /** Forecast time of one optimizer step. */
  get secondsPerStep(): number {
    return this.fields.secondsPerStep
  }

  /** Forecast time of all steps. */
  get seconds(): number {
    return this.secondsPerStep * this.totalSteps
  }

  /** Forecast energy of all steps in joules, by class; undefined is unavailable. */
  get joules(): ForecastByClass {
    const of = (watts: number | undefined): number | undefined =>
      watts === undefined ? undefined : watts * this.seconds
    return { measured: of(this.fields.power?.measuredWatts), modelled: of(this.fields.power?.modelledWatts) }
  }

  /** Forecast carbon of all steps in grams CO2e, by class. */
  get carbonGrams(): ForecastByClass {
    const { measured, modelled } = this.joules
    const of = (joules: number | undefined): number | undefined =>
      joules === undefined ? undefined : (joules / 3.6e6) * this.fields.carbonFactor.gramsPerKilowattHour
    return { measured: of(measured), modelled: of(modelled) }
  }

  /** The plan as a table of text. */
  print(): string {
    return printPlan(this)
  }

  /** As {@link print}. */
  toString(): string {
    return this.print()
  }

  /** Plain JSON: the fields and what follows from them. */
  toJSON(): object {
    const { seconds, joules, carbonGrams } = this
    return { ...this.fields, seconds, joules, carbonGrams }
  }
}
