import { SwiftError } from '@swift/spec'

const unitMs = { h: 3_600_000, m: 60_000, s: 1000 } as const

function lengthOf(text: string): number | undefined {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)(h|m|s)$/.exec(text.trim()) ?? []
  return amount === undefined ? undefined : Number(amount) * unitMs[unit as keyof typeof unitMs]
}

/** `2h`, `90m` or `30s` in milliseconds. @throws `ERR_OPTION_INVALID` */
export function parseDuration(text: string): number {
  const length = lengthOf(text)
  if (length !== undefined && length > 0) return length
  throw new SwiftError({
    code: 'ERR_OPTION_INVALID',
    asked: `The option duration = ${JSON.stringify(text)}`,
    found: 'not a length of time',
    remedy: 'Write hours, minutes or seconds, such as 2h, 90m or 30s',
  })
}

/**
 * An instant in ISO 8601, or a length of time from `now` such as `8h`, in milliseconds since the epoch.
 * @param mayBeOver whether an instant before `now` is taken, as for a run that is resumed late. Default false
 * @throws `ERR_OPTION_INVALID`
 */
export function parseDeadline(text: string, now: number, mayBeOver: boolean = false): number {
  const length = lengthOf(text)
  const at = length === undefined ? Date.parse(text) : now + length
  if (at > now || (mayBeOver && !Number.isNaN(at))) return at
  throw new SwiftError({
    code: 'ERR_OPTION_INVALID',
    asked: `The option deadline = ${JSON.stringify(text)}`,
    found: Number.isNaN(at) ? 'neither an instant nor a length of time' : 'an instant that is over',
    remedy: 'Write an ISO time such as 2027-01-05T08:00Z, or hours from now such as 8h',
  })
}
