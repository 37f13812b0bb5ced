import type { ReportOptions } from '@swift/energy'

/** When a command is to be over, and how long it takes. */
export interface CommandTimes {
  readonly deadline: string
  readonly duration: string
}

/** Waits for the start of the best window that ends by the deadline. @throws `ERR_OPTION_INVALID`, `ERR_CARBON_FORECAST`, `ERR_CARBON_WINDOW` */
export async function waitForLowCarbon(
  { deadline, duration }: CommandTimes,
  options: ReportOptions,
  say: (text: string) => void,
): Promise<void> {
  const {
    carbonZone,
    chooseStart,
    configuredCarbonProvider,
    describeWindow,
    parseDeadline,
    parseDuration,
    systemClock,
  } = await import('@swift/energy')
  const now = systemClock.now()
  const request = {
    fromUnixMs: now,
    deadlineUnixMs: parseDeadline(deadline, now),
    durationMs: parseDuration(duration),
  }
  const window = await chooseStart(options.carbon ?? configuredCarbonProvider(), carbonZone(options.zone), request)
  say(`swift energy: begins at ${new Date(window.startUnixMs).toISOString()}, ${describeWindow(window)}`)
  await systemClock.sleep(window.startUnixMs - systemClock.now())
}
