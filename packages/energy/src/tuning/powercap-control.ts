import { constants, writeFileSync } from 'node:fs'
import { access, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { PowerControl, PowerSetting } from './power-control.ts'

const prefix = 'powercap:'

/** The long-term power limit of each processor package, through the Linux powercap tree. Writing needs root. */
export class PowercapControl implements PowerControl {
  readonly id: string = 'powercap'
  readonly #root: string

  /** @param root Default: env `SWIFT_POWERCAP_ROOT`, else `/sys/class/powercap` */
  constructor(root: string = process.env['SWIFT_POWERCAP_ROOT'] ?? '/sys/class/powercap') {
    this.#root = root
  }

  async doList(): Promise<readonly PowerSetting[]> {
    const entries = await readdir(this.#root).catch(() => [])
    const settings = await Promise.all(
      entries.filter((entry) => /^intel-rapl:\d+$/.test(entry)).map((entry) => this.#read(entry)),
    )
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
    return join(this.#root, entry, 'constraint_0_power_limit_uw')
  }

  async #read(entry: string): Promise<PowerSetting | undefined> {
    const path = this.#file(entry)
    const read = async (file: string): Promise<string | undefined> =>
      (await readFile(file, 'utf8').catch(() => undefined))?.trim()
    const value = await read(path)
    if (value === undefined || !/^\d+$/.test(value)) return undefined
    const isWritable = await access(path, constants.W_OK).then(
      () => true,
      () => false,
    )
    return {
      id: `${prefix}${entry}`,
      label: `power limit of ${(await read(join(this.#root, entry, 'name'))) ?? entry}, microwatts`,
      value,
      minimum: undefined,
      maximum: await read(join(this.#root, entry, 'constraint_0_max_power_uw')),
      isWritable,
      reason: isWritable ? undefined : `run as root, or sudo chown "$USER" ${path}`,
    }
  }
}
