import { EnergyBudget, type BudgetObservation } from '@swift/energy'
import type { RunCarbon } from './run-carbon.ts'
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
  readonly #onSoft: () => void
  readonly #notes: Promise<unknown>[] = []
  #last: BudgetMoment | undefined

  private constructor(
    budget: EnergyBudget,
    energy: RunEnergy,
    emit: (event: TrainingEvent) => void,
    onSoft: () => void,
  ) {
    this.#budget = budget
    this.#energy = energy
    this.#emit = emit
    this.#onSoft = onSoft
  }

  /**
   * The budget of a run; undefined where none was given.
   * @param text the option `energyBudget`
   * @param carbon where grams come from
   * @param onSoft called when a soft limit is reached
   * @throws `ERR_ENERGY_BUDGET`, and what the carbon provider throws when a limit is in grams
   */
  static async open(
    text: string | undefined,
    carbon: RunCarbon,
    energy: RunEnergy,
    emit: (event: TrainingEvent) => void,
    onSoft: () => void,
  ): Promise<RunBudget | undefined> {
    if (text === undefined) return undefined
    if (energy.ledger === undefined) {
      const message = `energyBudget ${text} cannot be kept: ${energy.unavailable ?? 'there is no ledger'}`
      emit({ type: 'note', code: 'WARN_ENERGY_BUDGET_BLIND', message })
    }
    if (!EnergyBudget.parse(text).countsGrams) return new RunBudget(EnergyBudget.parse(text), energy, emit, onSoft)
    const { gramsPerKilowattHour } = await carbon.provider.doFactor(carbon.zone, new Date())
    return new RunBudget(EnergyBudget.parse(text, { gramsPerKilowattHour }), energy, emit, onSoft)
  }

  /** Looks at the energy so far. @returns whether a hard limit is reached: the run ends after this step */
  look(moment: BudgetMoment): boolean {
    this.#last = moment
    return this.#observe(moment)
  }

  /** The same while nothing is computed: what a pause costs is no part of the forecast of the steps. */
  lookInPause(): boolean {
    return this.#observe(this.#last === undefined ? {} : { tokens: this.#last.tokens })
  }

  #observe(seen: Omit<BudgetObservation, 'energy'>): boolean {
    const { ledger } = this.#energy
    if (ledger === undefined) return false
    const where = this.#last === undefined ? '' : `; step ${this.#last.step} of ${this.#last.totalSteps}`
    for (const { kind, code, message } of this.#budget.observe({ ...seen, energy: ledger.spent() })) {
      this.#emit({ type: 'note', code, message })
      this.#notes.push(ledger.note(code, `${message}${where}`))
      if (kind === 'soft') this.#onSoft()
    }
    return this.#budget.spent !== undefined
  }

  /** Waits until the reasons are in the ledger's folder. */
  async settle(): Promise<void> {
    await Promise.all(this.#notes)
  }
}
