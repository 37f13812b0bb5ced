import { setTimeout as sleep } from 'node:timers/promises'
import type { ReportOptions } from '@swift/energy'
import { SwiftError } from '@swift/spec'

const unitMs = { h: 3_600_000, m: 60_000, s: 1000 } as const

/** `8h`, `90m`, `30s` in milliseconds; `undefined` for another text. */
function parseLength(text: string): number | undefined {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)(h|m|s)$/.exec(text) ?? []
  return amount === undefined ? undefined : Number(amount) * unitMs[unit as keyof typeof unitMs]
}

/** `8h`, `90m`, or an instant in ISO 8601. @throws `ERR_OPTION_INVALID` */
export function parseDeadline(text: string, now: number): number {
  const length = parseLength(text)
  const at = length === undefined ? Date.parse(text) : now + length
  if (at > now) return at
  throw new SwiftError({
    code: 'ERR_OPTION_INVALID',
    asked: `swift energy run: --deadline ${text}`,
    found: Number.isNaN(at) ? 'neither an instant nor a length of time' : 'an instant that is over',
    remedy: 'Write an ISO time such as 2027-01-05T08:00Z, or hours from now such as 8h',
  })
}

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
  const { carbonZone, chooseWindow } = await import('@swift/energy')
  const { carbon } = options
  const zone = carbonZone(options.zone)
  const from = Date.now()
  const until = parseDeadline(deadline, from)
  const durationMs = parseLength(duration)
  if (durationMs === undefined || durationMs === 0) {
    throw new SwiftError({
      code: 'ERR_OPTION_INVALID',
      asked: `swift energy run: --duration ${duration}`,
      found: 'not a length of time',
      remedy: 'Write hours, minutes or seconds, such as 2h, 90m or 30s',
    })
  }
  if (carbon?.doForecast === undefined) {
    throw new SwiftError({
      code: 'ERR_CARBON_FORECAST',
      asked: 'Waiting for hours of low carbon',
      found: `the carbon provider ${carbon?.id ?? 'static'} has no forecast`,
      remedy: 'Choose --carbon electricity-maps, watttime or uk',
    })
  }
  const forecast = await carbon.doForecast(zone, new Date(from), new Date(until))
  const window = chooseWindow(forecast, { fromUnixMs: from, deadlineUnixMs: until, durationMs })
  const saved = 1 - window.gramsPerKilowattHour / window.nowGramsPerKilowattHour
  say(
    `swift energy: begins at ${new Date(window.startUnixMs).toISOString()}, forecast ${window.gramsPerKilowattHour.toFixed(0)} g/kWh instead of ${window.nowGramsPerKilowattHour.toFixed(0)} g/kWh now (${(100 * saved).toFixed(0)} % less)`,
  )
  await sleep(Math.max(0, window.startUnixMs - Date.now()))
}
