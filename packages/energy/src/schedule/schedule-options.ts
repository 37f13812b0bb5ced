import type { OptionTable } from '@swift/spec'

/** Names of {@link scheduleOptions}. */
export type ScheduleOptionName = 'carbon' | 'zone' | 'deadline' | 'duration' | 'pauseAbove' | 'powerLimit'

/**
 * When and with how much power work is done. Trainers take all of it, `swift energy run` all but `pauseAbove`; `carbon` and
 * `zone` also choose the factors of reports.
 */
export const scheduleOptions: Readonly<Record<ScheduleOptionName, OptionTable[string]>> = {
  carbon: {
    type: 'string',
    derived: 'SWIFT_CARBON_PROVIDER, else static',
    choices: ['static', 'electricity-maps', 'watttime', 'uk'],
    description:
      'Where carbon factors come from; keys are read from the environment. All but static have one for each stretch of the run, and a forecast.',
  },
  zone: {
    type: 'string',
    derived: 'SWIFT_CARBON_ZONE, else the world',
    description: 'Country or grid zone of the carbon factor, e.g. DEU, USA-CAMX.',
  },
  deadline: {
    type: 'string',
    description: 'Begin in the hours of lowest carbon that still end by then (ISO time, or hours from now as 8h).',
  },
  duration: {
    type: 'string',
    derived: 'the forecast of the plan; for any other command 1h',
    description: 'How long the work takes, for the choice of a start before the deadline, e.g. 90m.',
  },
  pauseAbove: {
    type: 'number',
    minimum: 0,
    description:
      'Pause between steps, at a checkpoint, while the grid is above so many grams per kWh; goes on below nine tenths of it, in time for the deadline, after 12 hours at the latest.',
  },
  powerLimit: {
    type: 'string',
    description:
      'Power or clock limits for the time of the work, as swift energy doctor lists them, e.g. powercap:intel-rapl:0=90000000, cpufreq:*=2400000; "soft nvidia:*=300" holds from a soft energy budget on. Always put back.',
  },
}
