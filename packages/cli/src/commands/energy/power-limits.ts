import { SwiftError } from '@swift/spec'

/** Settings and what they are to be. */
export type PowerLimits = readonly (readonly [setting: string, value: string])[]

/** `nvidia:GPU-…=300,powercap:intel-rapl:0=90000000`. @throws `ERR_OPTION_INVALID` */
export function parsePowerLimits(text: string): PowerLimits {
  return text.split(',').map((part) => {
    const [, setting, value] = /^\s*([^=\s]+)\s*=\s*(\d+(?:\.\d+)?)\s*$/.exec(part) ?? []
    if (setting !== undefined && value !== undefined) return [setting, value] as const
    throw new SwiftError({
      code: 'ERR_OPTION_INVALID',
      asked: `swift energy run: --power-limit ${text}`,
      found: `${JSON.stringify(part)} is not a setting and a value`,
      remedy: 'Write settings as swift energy doctor lists them, e.g. --power-limit powercap:intel-rapl:0=90000000',
    })
  })
}

/**
 * Sets power limits for a command; disposing puts back what was there and says so. After a kill -9 the next run of anything
 * metered on this machine does.
 * @throws `ERR_POWER_SETTING`; then nothing stays changed
 */
export async function setPowerLimits(
  limits: PowerLimits,
  say: (text: string) => void,
): Promise<AsyncDisposable | undefined> {
  if (limits.length === 0) return undefined
  const { PowerTuning } = await import('@swift/energy')
  const tuning = await PowerTuning.open({ endOnSignal: false })
  try {
    for (const [setting, value] of limits) await tuning.set(setting, value)
  } catch (error) {
    await tuning.close()
    throw error
  }
  return {
    [Symbol.asyncDispose]: async () => {
      for (const { setting, value, error } of await tuning.close()) {
        const found = error === undefined ? `is ${value} again` : `cannot be put back to ${value}: ${error}`
        say(`swift energy: ${setting} ${found}`)
      }
    },
  }
}
