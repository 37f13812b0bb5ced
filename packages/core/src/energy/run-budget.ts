import { carbonZone, configuredCarbonProvider, EnergyBudget } from '@swift/energy'
import type { CarbonProvider } from '@swift/spec'
import type { RunEnergy } from './run-energy.ts'
import type { TrainingEvent } from '../events/training-event.ts'

/** Where a run stands when it looks at its budget. */
export interface BudgetMoment {
  /** Steps done. */
  readonly step: number
  /** Steps in all. */
  readonly totalSteps: number
  /** Tokens so far, resumed ones included. */
  readonly tokens: number
}

/** Holds a run to `energyBudget`: warns at soft limits and by forecast, ends the run after the step of a hard one. */
export class RunBudget {
  readonly #budget: EnergyBudget
  readonly #energy: RunEnergy
  readonly #emit: (event: TrainingEvent) => void
  readonly #notes: Promise<unknown>[] = []

  private constructor(budget: EnergyBudget, energy: RunEnergy, emit: (event: TrainingEvent) => void) {
    this.#budget = budget
    this.#energy = energy
    this.#emit = emit
  }

  /**
   * The budget of a run; undefined where none was given.
   * @param text the option `energyBudget`
   * @param carbon where grams come from, for `SWIFT_CARBON_ZONE`. Default: env `SWIFT_CARBON_PROVIDER`, else yearly averages
   * @throws `ERR_ENERGY_BUDGET`, and what the carbon provider throws when a limit is in grams
   */
  static async open(
    text: string | undefined,
    carbon: CarbonProvider | undefined,
    energy: RunEnergy,
    emit: (event: TrainingEvent) => void,
  ): Promise<RunBudget | undefined> {
    if (text === undefined) return undefined
    if (energy.ledger === undefined) {
      const message = `energyBudget ${text} cannot be kept: ${energy.unavailable ?? 'there is no ledger'}`
      emit({ type: 'note', code: 'WARN_ENERGY_BUDGET_BLIND', message })
    }
    if (!EnergyBudget.parse(text).countsGrams) return new RunBudget(EnergyBudget.parse(text), energy, emit)
    const provider = carbon ?? configuredCarbonProvider()
    const { gramsPerKilowattHour } = await provider.doFactor(carbonZone(undefined), new Date())
    return new RunBudget(EnergyBudget.parse(text, { gramsPerKilowattHour }), energy, emit)
  }

  /** Looks at the energy so far. @returns whether a hard limit is reached: the run ends after this step */
  look({ step, totalSteps, tokens }: BudgetMoment): boolean {
    const { ledger } = this.#energy
    if (ledger === undefined) return false
    const events = this.#budget.observe({ energy: ledger.spent(), tokens, step, totalSteps })
    for (const { code, message } of events) {
      this.#emit({ type: 'note', code, message })
      this.#notes.push(ledger.note(code, `${message}; step ${step} of ${totalSteps}`))
    }
    return this.#budget.spent !== undefined
  }

  /** Waits until the reasons are in the ledger's folder. */
  async settle(): Promise<void> {
    await Promise.all(this.#notes)
  }
}
