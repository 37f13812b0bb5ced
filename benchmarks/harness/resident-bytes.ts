import { readFileSync } from 'node:fs'

/** The greatest resident memory of this process so far (VmHWM), mapped files included; null where it cannot be read. */
export function peakResidentBytes(): number | null {
  try {
    const kilobytes = /^VmHWM:\s*(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
    return kilobytes === undefined ? null : Number(kilobytes) * 1024
  } catch {
    return null
  }
}
