/**
 * How a number of joules came to be.
 *
 * - `measured_counter`: difference of two readings of a hardware energy counter.
 * - `integrated_power`: a power sensor integrated over time.
 * - `modelled`: computed from something else (such as CPU time) by a named model.
 * - `imputed_gap`: the counter may have wrapped more than once between two readings; the interval holds every case.
 * - `derived`: computed from other entries and recomputable from them.
 */
export type EnergyProvenance = 'measured_counter' | 'integrated_power' | 'modelled' | 'imputed_gap' | 'derived'

/** The two classes that are never added into one number without saying so. */
export type EnergyClass = 'measured' | 'modelled'

/** Energy with its interval. All three are integer nanojoules; `low <= nanojoules <= high`. */
export interface EnergyAmount {
  /** Best estimate. */
  readonly nanojoules: bigint
  /** Lower end of the interval. */
  readonly lowNanojoules: bigint
  /** Upper end of the interval. */
  readonly highNanojoules: bigint
}

/**
 * Measured and modelled energy side by side. `undefined` means that no source of that class was read (unavailable);
 * it is not zero.
 */
export interface EnergySplit {
  /** From counters and power sensors. */
  readonly measured: EnergyAmount | undefined
  /** From named models, such as CPU time. */
  readonly modelled: EnergyAmount | undefined
}
