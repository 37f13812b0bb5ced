import type { RunEnergy } from '../energy/run-energy.ts'

/** Numbers of a step as soon as they are read. */
export interface StepNumbers {
  /** Number of the step, from 1. */
  readonly step: number
  /** Epochs done after it, with a fraction. */
  readonly epoch: number
  /** Σ weight · cross entropy in nats. */
  readonly lossSum: number
  /** Sum of target weights. */
  readonly trainedWeight: number
  /** Targets with the largest logit. */
  readonly correct: number
  /** Targets. */
  readonly trainedTokens: number
  /** Tokens. */
  readonly tokens: number
  /** Gradient norm before clipping. */
  readonly gradientNorm: number
  /** Learning rate. */
  readonly learningRate: number
  /** Milliseconds since the step before was read. */
  readonly durationMs: number
  /** Whether its update was skipped. */
  readonly skipped: boolean
}

/** Joules of all phases so far and watts now, by class. */
export interface EnergyNow {
  /** By measured sources. */
  readonly measuredWatts: number | undefined
  /** By models. */
  readonly modelledWatts: number | undefined
  /** By measured sources. */
  readonly measuredJoules: number | undefined
  /** By models. */
  readonly modelledJoules: number | undefined
}

const none: EnergyNow = {
  measuredWatts: undefined,
  modelledWatts: undefined,
  measuredJoules: undefined,
  modelledJoules: undefined,
}

function joules(amount: { readonly nanojoules: bigint } | undefined): number | undefined {
  return amount === undefined ? undefined : Number(amount.nanojoules) / 1e9
}

/** What the ledger shows now. */
export function energyNow(energy: RunEnergy): EnergyNow {
  const live = energy.live()
  if (live === undefined) return none
  return {
    measuredWatts: live.measuredWatts,
    modelledWatts: live.modelledWatts,
    measuredJoules: joules(live.energy.measured),
    modelledJoules: joules(live.energy.modelled),
  }
}

/** Averages over the steps since the last log line: sums first, so that long steps count for more. */
export class LogAverage {
  #steps: StepNumbers[] = []

  /** Adds a step. Skipped steps count their tokens and time, not their loss. */
  add(numbers: StepNumbers): void {
    this.#steps.push(numbers)
  }

  /** Averages and starts anew; undefined when there was no step. */
  take():
    | {
        readonly loss: number
        readonly tokenAccuracy: number
        readonly tokensPerSecond: number
        readonly last: StepNumbers
      }
    | undefined {
    const steps = this.#steps
    this.#steps = []
    const last = steps.at(-1)
    if (last === undefined) return undefined
    const used = steps.filter(({ skipped }) => !skipped)
    const sum = (of: (numbers: StepNumbers) => number, over: readonly StepNumbers[]): number =>
      over.reduce((total, numbers) => total + of(numbers), 0)
    const milliseconds = sum(({ durationMs }) => durationMs, steps)
    return {
      loss: sum(({ lossSum }) => lossSum, used) / sum(({ trainedWeight }) => trainedWeight, used),
      tokenAccuracy: sum(({ correct }) => correct, used) / sum(({ trainedTokens }) => trainedTokens, used),
      tokensPerSecond: (1000 * sum(({ tokens }) => tokens, steps)) / Math.max(1e-3, milliseconds),
      last,
    }
  }
}
