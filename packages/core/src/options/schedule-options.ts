/** When and with how much power a run trains; part of {@link TrainerOptions}. The command line of `swift energy run` has the same names. */
export interface ScheduleOptions {
  /**
   * Where carbon factors and forecasts come from; `carbon` of the trainer wins. Default: env `SWIFT_CARBON_PROVIDER`, else the
   * yearly averages.
   */
  readonly carbon?: 'static' | 'electricity-maps' | 'watttime' | 'uk'
  /** Country or grid zone of the carbon factor. Default: env `SWIFT_CARBON_ZONE`, else the world. */
  readonly zone?: string
  /**
   * Begin in the hours of lowest carbon that still end by then: ISO time, or a length of time from the call of `train()` such as
   * `8h`. Pauses end in time for it too. Needs a provider with a forecast.
   */
  readonly deadline?: string
  /** How long the whole run takes, such as `90m`, for the choice of its start. Default: the plan's forecast and a quarter. */
  readonly duration?: string
  /**
   * Pause between steps, at a checkpoint, while the grid is above so many grams per kWh; goes on at or below nine tenths of it,
   * in time for the deadline, and after 12 hours in pauses at the latest. Default: never.
   */
  readonly pauseAbove?: number
  /**
   * Limits of power or clocks for the time of the run, such as `powercap:*=90000000` (µW), `nvidia:GPU-…=300` (W) or
   * `cpufreq:*=2400000` (kHz); one that begins with `soft` holds from the moment a soft limit of `energyBudget` is reached.
   * Always put back. Default: none.
   */
  readonly powerLimit?: string
}
