import { constants, writeFileSync } from 'node:fs'
import { access, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { PowerControl, PowerSetting } from './power-control.ts'

const prefix = 'cpufreq:'

/**
 * The highest clock of each group of cores that share one, through Linux's cpufreq policies, in kHz. Writing needs root.
 * Virtual machines usually have none.
 */
export class CpuFrequencyControl implements PowerControl {
  readonly id: string = 'cpufreq'
  readonly #root: string

  /** @param root Default: env `SWIFT_CPUFREQ_ROOT`, else `/sys/devices/system/cpu/cpufreq` */
  constructor(root: string = process.env['SWIFT_CPUFREQ_ROOT'] ?? '/sys/devices/system/cpu/cpufreq') {
    this.#root = root
  }

  async doList(): Promise<readonly PowerSetting[]> {
    const entries = await readdir(this.#root).catch(() => [])
    const policies = entries
      .filter((entry) => /^policy\d+$/.test(entry))
      .sort((left, right) => Number(left.slice(6)) - Number(right.slice(6)))
    const settings = await Promise.all(policies.map((entry) => this.#read(entry)))
    return settings.filter((setting) => setting !== undefined)
  }

  async doSet(setting: string, value: string): Promise<void> {
    // One write that cannot be waited for: an exit finds the old value or the new one.
    this.doSetNow(setting, value)
  }

  doSetNow(setting: string, value: string): void {
    writeFileSync(this.#file(setting.slice(prefix.length)), `${value}\n`)
  }

  #file(entry: string): string {
    return join(this.#root, entry, 'scaling_max_freq')
  }

  async #read(entry: string): Promise<PowerSetting | undefined> {
    const path = this.#file(entry)
    const read = async (name: string): Promise<string | undefined> =>
      (await readFile(join(this.#root, entry, name), 'utf8').catch(() => undefined))?.trim()
    const value = await read('scaling_max_freq')
    if (value === undefined || !/^\d+$/.test(value)) return undefined
    const isWritable = await access(path, constants.W_OK).then(
      () => true,
      () => false,
    )
    return {
      id: `${prefix}${entry}`,
      label: `highest clock of processors ${(await read('affected_cpus')) ?? entry}, kHz`,
      value,
      minimum: await read('cpuinfo_min_freq'),
      maximum: await read('cpuinfo_max_freq'),
      isWritable,
      reason: isWritable ? undefined : `run as root, or sudo chown "$USER" ${path}`,
    }
  }
}
