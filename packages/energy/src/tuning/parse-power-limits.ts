import { SwiftError } from '@swift/spec'

/** A setting and what it is to be. */
export interface PowerLimit {
  /** As {@link PowerTuning.list} names it; `cpufreq:*` is all of a kind. */
  readonly setting: string
  readonly value: string
  /** Whether it holds only from the moment a soft energy budget is reached. */
  readonly isSoft: boolean
}

/** `nvidia:GPU-…=300, powercap:intel-rapl:0=90000000, soft nvidia:*=200`. @throws `ERR_OPTION_INVALID` */
export function parsePowerLimits(text: string): readonly PowerLimit[] {
  return text.split(',').map((part) => {
    const [, soft, setting, value] = /^\s*(soft\s+)?([^=\s]+)\s*=\s*(\d+(?:\.\d+)?)\s*$/.exec(part) ?? []
    if (setting !== undefined && value !== undefined) return { setting, value, isSoft: soft !== undefined }
    throw new SwiftError({
      code: 'ERR_OPTION_INVALID',
      asked: `The option powerLimit = ${JSON.stringify(text)}`,
      found: `${JSON.stringify(part)} is not a setting and a value`,
      remedy: 'Write settings as swift energy doctor lists them, e.g. powercap:intel-rapl:0=90000000',
    })
  })
}
