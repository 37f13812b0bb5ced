import { rmSync } from 'node:fs'
import { mkdir, open, readdir, readFile, rm } from 'node:fs/promises'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { SwiftError } from '@swift/spec'
import { CpuFrequencyControl } from './cpu-frequency-control.ts'
import { NvidiaControl } from './nvidia-control.ts'
import type { PowerControl, PowerSetting } from './power-control.ts'
import { PowercapControl } from './powercap-control.ts'

/** What is recorded before anything is changed. */
interface Intent {
  readonly format: 'swift-power-intent/1'
  readonly processId: number
  /** Start of that process, so that its id used again by another is not taken for it. */
  readonly processStart: string
  readonly setting: string
  /** What to put back. */
  readonly before: string
  readonly after: string
  readonly unixMs: number
}

/** How power is tuned. */
export interface PowerTuningOptions {
  /** Default: powercap, the clocks of the processor, and NVIDIA. */
  readonly controls?: readonly PowerControl[]
  /** Where intents are recorded. Default: env `SWIFT_POWER_STATE`, else `~/.local/state/swift/power`. */
  readonly stateFolder?: string
  /**
   * Whether SIGINT, SIGTERM and SIGHUP put everything back and then end the process. A signal that the program listens to
   * itself is left to it: it closes the tuning, or exits, which puts everything back too. Default true; false for no
   * listeners at all.
   */
  readonly endOnSignal?: boolean
}

/** A value that was put back. */
export interface RestoredSetting {
  readonly setting: string
  readonly value: string
  /** Why it was not possible; `undefined` when it was. */
  readonly error: string | undefined
}

function withDefaults({ controls, stateFolder }: PowerTuningOptions): {
  readonly controls: readonly PowerControl[]
  readonly folder: string
} {
  return {
    controls: controls ?? [new PowercapControl(), new CpuFrequencyControl(), new NvidiaControl()],
    folder: stateFolder ?? process.env['SWIFT_POWER_STATE'] ?? join(homedir(), '.local', 'state', 'swift', 'power'),
  }
}

/** Field 22 of `/proc/<pid>/stat`; empty where the process is not there. */
async function startOf(processId: number): Promise<string> {
  const text = await readFile(`/proc/${processId}/stat`, 'utf8').catch(() => '')
  return text.slice(text.lastIndexOf(')') + 2).split(' ')[19] ?? ''
}

async function isAlive({ processId, processStart }: Intent): Promise<boolean> {
  if (processStart !== '') return (await startOf(processId)) === processStart
  try {
    process.kill(processId, 0)
    return true
  } catch {
    return false
  }
}

async function writeDurably(path: string, text: string): Promise<void> {
  const handle = await open(path, 'wx')
  try {
    await handle.writeFile(text)
    await handle.sync()
  } finally {
    await handle.close()
  }
  const folder = await open(join(path, '..'), 'r')
  await folder.sync().finally(() => folder.close())
}

/**
 * Sets power limits and always puts them back: what is to be restored is on disk before anything is changed; `close`,
 * signals and the exit of the process restore it; after a kill -9 the next `open` on the machine does.
 *
 * ```ts
 * await using tuning = await PowerTuning.open()
 * await tuning.set('nvidia:GPU-…', '300')
 * ```
 */
export class PowerTuning implements AsyncDisposable {
  readonly #controls: readonly PowerControl[]
  readonly #folder: string
  /** Intent files of this process by setting. */
  readonly #held = new Map<string, { readonly file: string; readonly before: string }>()
  readonly #onSignal: (signal: NodeJS.Signals) => void
  /** Those of this process that a signal closes. */
  static readonly #ending = new Set<PowerTuning>()
  readonly #onExit = (): void => this.#restoreNow()
  /** What an earlier process left changed, put back when this was opened. */
  readonly restored: readonly RestoredSetting[]

  private constructor(
    controls: readonly PowerControl[],
    folder: string,
    restored: readonly RestoredSetting[],
    endOnSignal: boolean,
  ) {
    this.#controls = controls
    this.#folder = folder
    this.restored = restored
    this.#onSignal = (signal) => {
      const all = [...PowerTuning.#ending]
      if (!all.includes(this) || process.listenerCount(signal) > all.length) return
      PowerTuning.#ending.clear()
      void Promise.all(all.map((tuning) => tuning.close())).finally(() => {
        // With our listeners gone the signal does what it does by default.
        process.kill(process.pid, signal)
      })
    }
    process.on('exit', this.#onExit)
    if (!endOnSignal) return
    PowerTuning.#ending.add(this)
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, this.#onSignal)
  }

  /** Puts back what a dead process left changed, and is ready to set. */
  static async open(options: PowerTuningOptions = {}): Promise<PowerTuning> {
    const { controls, folder } = withDefaults(options)
    await mkdir(folder, { recursive: true })
    const restored = await PowerTuning.#restoreDead(controls, folder)
    return new PowerTuning(controls, folder, restored, options.endOnSignal ?? true)
  }

  /** Only puts back what a dead process left changed. Does nothing, and costs nothing, where there is no record. */
  static async restore(options: PowerTuningOptions = {}): Promise<readonly RestoredSetting[]> {
    const { controls, folder } = withDefaults(options)
    return PowerTuning.#restoreDead(controls, folder)
  }

  /** Everything that can be set on this machine, with its present value and range. Changes nothing. */
  static async settings(options: PowerTuningOptions = {}): Promise<readonly PowerSetting[]> {
    return (await Promise.all(withDefaults(options).controls.map((control) => control.doList()))).flat()
  }

  static async #restoreDead(controls: readonly PowerControl[], folder: string): Promise<RestoredSetting[]> {
    const restored: RestoredSetting[] = []
    const names = await readdir(folder).catch(() => [])
    for (const name of names.filter((file) => file.endsWith('.json'))) {
      const file = join(folder, name)
      let intent: Intent
      try {
        intent = JSON.parse(await readFile(file, 'utf8')) as Intent
      } catch (error) {
        // An intent cut short was never acted on: it is complete on disk before anything is set.
        restored.push({ setting: name, value: '', error: `unreadable intent removed: ${String(error)}` })
        await rm(file, { force: true })
        continue
      }
      if (await isAlive(intent)) continue
      const error = await put(controls, intent.setting, intent.before)
      restored.push({ setting: intent.setting, value: intent.before, error })
      if (error === undefined) await rm(file, { force: true })
    }
    return restored
  }

  /** Everything that can be set here, with its present value. */
  async list(): Promise<readonly PowerSetting[]> {
    return (await Promise.all(this.#controls.map((control) => control.doList()))).flat()
  }

  /**
   * Sets one value, after recording what to put back. A setting that ends in `:*`, such as `cpufreq:*`, is all of its kind.
   * @throws `ERR_POWER_SETTING` for an unknown or forbidden setting, a value out of the device's range, or one that
   *   another living process holds
   */
  async set(setting: string, value: string): Promise<void> {
    const asked = `Setting ${setting} to ${value}`
    const refuse = (found: string, remedy: string, cause?: unknown): SwiftError =>
      new SwiftError({ code: 'ERR_POWER_SETTING', asked, found, remedy, cause })
    const known = await this.list()
    if (setting.endsWith(':*')) {
      const all = known.filter(({ id }) => id.startsWith(setting.slice(0, -1)))
      if (all.length === 0) throw refuse('there is no such setting here', 'See swift energy doctor for those that are')
      for (const { id } of all) await this.set(id, value)
      return
    }
    const found = known.find(({ id }) => id === setting)
    if (found === undefined) {
      throw refuse(
        'there is no such setting here',
        `Use one of ${known.map(({ id }) => id).join(', ') || 'a machine that has any'}`,
      )
    }
    if (!found.isWritable) throw refuse('this process may not change it', found.reason ?? 'run as root')
    const [number, low, high] = [value, found.minimum, found.maximum].map((text) =>
      text === undefined ? Number.NaN : Number(text),
    )
    if (!((number ?? Number.NaN) > 0) || (number ?? 0) < (low ?? -Infinity) || (number ?? 0) > (high ?? Infinity)) {
      throw refuse(
        `${value} is not between ${found.minimum ?? '0'} and ${found.maximum ?? 'any'}`,
        'Choose a value the device takes',
      )
    }
    if (!this.#held.has(setting)) await this.#record(setting, found.value, value, refuse)
    const error = await put(this.#controls, setting, value)
    if (error !== undefined) throw refuse(error, 'See the message of the device')
  }

  async #record(
    setting: string,
    before: string,
    after: string,
    refuse: (found: string, remedy: string, cause?: unknown) => SwiftError,
  ): Promise<void> {
    const file = join(this.#folder, `${setting.replaceAll(/[^A-Za-z0-9-]/g, '_')}.json`)
    const intent: Intent = {
      format: 'swift-power-intent/1',
      processId: process.pid,
      processStart: await startOf(process.pid),
      setting,
      before,
      after,
      unixMs: Date.now(),
    }
    try {
      await writeDurably(file, `${JSON.stringify(intent)}\n`)
    } catch (cause) {
      const isHeld = (cause as NodeJS.ErrnoException).code === 'EEXIST'
      throw isHeld
        ? refuse('another process holds it', 'Wait for that process, or choose another device', cause)
        : refuse(
            `what to put back cannot be recorded in ${this.#folder}`,
            'Make the folder writable; nothing was changed',
            cause,
          )
    }
    this.#held.set(setting, { file, before })
  }

  /**
   * Puts everything back. What cannot be put back keeps its record, so that the next start tries again.
   * @returns what was put back
   */
  async close(): Promise<readonly RestoredSetting[]> {
    PowerTuning.#ending.delete(this)
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.off(signal, this.#onSignal)
    const restored: RestoredSetting[] = []
    // An exit in the midst of it restores what is still held.
    for (const [setting, { file, before }] of this.#held) {
      const error = await put(this.#controls, setting, before)
      restored.push({ setting, value: before, error })
      if (error === undefined) await rm(file, { force: true })
      this.#held.delete(setting)
    }
    process.off('exit', this.#onExit)
    return restored
  }

  /** At the exit of the process nothing can be awaited. What fails here, the next start puts back. */
  #restoreNow(): void {
    for (const [setting, { file, before }] of this.#held) {
      const control = this.#controls.find(({ id }) => setting.startsWith(`${id}:`))
      if (control?.doSetNow === undefined) continue
      try {
        control.doSetNow(setting, before)
        rmSync(file, { force: true })
      } catch {
        // Its record stays.
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

/** @returns what went wrong */
async function put(controls: readonly PowerControl[], setting: string, value: string): Promise<string | undefined> {
  const control = controls.find(({ id }) => setting.startsWith(`${id}:`))
  if (control === undefined) return 'nothing here controls it'
  try {
    await control.doSet(setting, value)
    return undefined
  } catch (error) {
    return error instanceof Error ? error.message : String(error)
  }
}
