import { constants, writeFileSync } from 'node:fs'
import { access, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { PowerControl, PowerSetting } from './power-control.ts'

/** Reads a file beside the setting's own, trimmed; undefined where it cannot be read. */
export type ReadBeside = (name: string) => Promise<string | undefined>

/** Settings of the kernel that are one file with one number each, in folders beside each other. Writing needs root. */
export abstract class FileControl implements PowerControl {
  abstract readonly id: string
  /** Names of the folders. */
  protected abstract readonly entries: RegExp
  /** Name of the file in each. */
  protected abstract readonly file: string
  readonly #root: string

  /** @param root Folder of the folders */
  constructor(root: string) {
    this.#root = root
  }

  /** What a person reads about a setting, and its bounds. */
  protected abstract describe(
    entry: string,
    read: ReadBeside,
  ): Promise<Pick<PowerSetting, 'label' | 'minimum' | 'maximum'>>

  async doList(): Promise<readonly PowerSetting[]> {
    const found = await readdir(this.#root).catch(() => [])
    const entries = found
      .filter((entry) => this.entries.test(entry))
      .sort((left, right) => left.localeCompare(right, 'en', { numeric: true }))
    const settings = await Promise.all(entries.map((entry) => this.#read(entry)))
    return settings.filter((setting) => setting !== undefined)
  }

  async doSet(setting: string, value: string): Promise<void> {
    // One write that cannot be waited for: an exit finds the old value or the new one.
    this.doSetNow(setting, value)
  }

  doSetNow(setting: string, value: string): void {
    writeFileSync(this.#path(setting.slice(`${this.id}:`.length)), `${value}\n`)
  }

  #path(entry: string): string {
    return join(this.#root, entry, this.file)
  }

  async #read(entry: string): Promise<PowerSetting | undefined> {
    const path = this.#path(entry)
    const read: ReadBeside = async (name) =>
      (await readFile(join(this.#root, entry, name), 'utf8').catch(() => undefined))?.trim()
    const value = await read(this.file)
    if (value === undefined || !/^\d+$/.test(value)) return undefined
    const isWritable = await access(path, constants.W_OK).then(
      () => true,
      () => false,
    )
    return {
      id: `${this.id}:${entry}`,
      ...(await this.describe(entry, read)),
      value,
      isWritable,
      reason: isWritable ? undefined : `run as root, or sudo chown "$USER" ${path}`,
    }
  }
}
