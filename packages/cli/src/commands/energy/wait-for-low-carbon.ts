import { setTimeout as sleep } from 'node:timers/promises'
import type { ReportOptions } from '@swift/energy'
import { SwiftError } from '@swift/spec'

/** `8h`, `90m`, or an instant in ISO 8601. @throws `ERR_OPTION_INVALID` */
export function parseDeadline(text: string, now: number): number {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)(h|m|s)$/.exec(text) ?? []
  const milliseconds = { h: 3_600_000, m: 60_000, s: 1000 } as const
  const at =
    amount === undefined ? Date.parse(text) : now + Number(amount) * milliseconds[unit as keyof typeof milliseconds]
  if (at > now) return at
  throw new SwiftError({
    code: 'ERR_OPTION_INVALID',
    asked: `swift energy run: --deadline ${text}`,
    found: Number.isNaN(at) ? 'neither an instant nor a length of time' : 'an instant that is over',
    remedy: 'Write an ISO time such as 2027-01-05T08:00Z, or hours from now such as 8h',
  })
}

/** Waits for the start of the best window that ends by the deadline, one hour long where nothing is known about the run. */
export async function waitForLowCarbon(
  deadline: string,
  options: ReportOptions,
  say: (text: string) => void,
): Promise<void> {
  const { carbonZone, chooseWindow } = await import('@swift/energy')
  const { carbon } = options
  const zone = carbonZone(options.zone)
  const from = Date.now()
  const until = parseDeadline(deadline, from)
  if (carbon?.doForecast === undefined) {
    throw new SwiftError({
      code: 'ERR_CARBON_FORECAST',
      asked: 'Waiting for hours of low carbon',
      found: `the carbon provider ${carbon?.id ?? 'static'} has no forecast`,
      remedy: 'Choose --carbon electricity-maps, watttime or uk',
    })
  }
  const forecast = await carbon.doForecast(zone, new Date(from), new Date(until))
  const durationMs = Math.min(3_600_000, until - from)
  const window = chooseWindow(forecast, { fromUnixMs: from, deadlineUnixMs: until, durationMs })
  const saved = 1 - window.gramsPerKilowattHour / window.nowGramsPerKilowattHour
  say(
    `swift energy: begins at ${new Date(window.startUnixMs).toISOString()}, forecast ${window.gramsPerKilowattHour.toFixed(0)} g/kWh instead of ${window.nowGramsPerKilowattHour.toFixed(0)} g/kWh now (${(100 * saved).toFixed(0)} % less)`,
  )
  await sleep(Math.max(0, window.startUnixMs - Date.now()))
}
