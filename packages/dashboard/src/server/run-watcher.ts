import { readdir, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { CarbonOptions } from '../read/read-energy.ts'
import { readDashboard } from '../read/read-dashboard.ts'
import type { DashboardData } from '../run-data.ts'

/** What a {@link RunWatcher} watches, and how often. */
export interface RunWatcherOptions {
  readonly paths: readonly string[]
  readonly carbon: CarbonOptions
  /** Shortest time between two looks, in milliseconds. */
  readonly periodMs: number
}

/** A look may take this share of the time: a run must not pay for being watched. */
const largestShare = 0.05

/** Sizes and times of what a run writes to; a different text means that there is news. */
async function fingerprint(folder: string): Promise<string> {
  const inside = await readdir(folder).catch(() => [])
  const energy = await readdir(join(folder, 'energy')).catch(() => [])
  const names = [
    ...inside.filter((name) => /\.(json|jsonl|swj)$/.test(name)),
    ...energy.filter((name) => name.endsWith('.swj')).map((name) => join('energy', name)),
  ].toSorted()
  const parts = await Promise.all(
    names.map(async (name) => {
      const found = await stat(join(folder, name)).catch(() => undefined)
      return `${name}:${found?.size ?? 0}:${found?.mtimeMs ?? 0}`
    }),
  )
  return parts.join(' ')
}

/**
 * Looks at run folders while somebody listens, and tells each listener when something changed. It asks the file system
 * instead of waiting for its events: those are lost on network drives and container mounts.
 */
export class RunWatcher {
  readonly #options: RunWatcherOptions
  readonly #listeners = new Set<(data: DashboardData) => void>()
  #data: DashboardData
  #seen = ''
  #timer: NodeJS.Timeout | undefined
  #reading: Promise<DashboardData> | undefined

  private constructor(options: RunWatcherOptions, data: DashboardData) {
    this.#options = options
    this.#data = data
  }

  /** Reads everything once. @throws `ERR_RUN_MISSING`, `ERR_RUN_NONE` */
  static async open(options: RunWatcherOptions): Promise<RunWatcher> {
    const data = await readDashboard(options.paths, 'live', options.carbon)
    const watcher = new RunWatcher(options, data)
    watcher.#seen = await watcher.#fingerprints(data)
    return watcher
  }

  /** What was read last. */
  get data(): DashboardData {
    return this.#data
  }

  /** Reads what changed since the last look; the same object where nothing did. */
  async refresh(): Promise<DashboardData> {
    this.#reading ??= this.#read().finally(() => {
      this.#reading = undefined
    })
    return this.#reading
  }

  /**
   * Calls `listener` with news.
   * @returns call it to stop
   */
  listen(listener: (data: DashboardData) => void): () => void {
    this.#listeners.add(listener)
    if (this.#timer === undefined) this.#schedule(this.#options.periodMs)
    return () => {
      this.#listeners.delete(listener)
      if (this.#listeners.size > 0) return
      clearTimeout(this.#timer)
      this.#timer = undefined
    }
  }

  #schedule(delayMs: number): void {
    this.#timer = setTimeout(() => void this.#look(), delayMs)
  }

  async #look(): Promise<void> {
    const started = performance.now()
    const before = this.#data
    const data = await this.refresh()
    if (data !== before) for (const listener of this.#listeners) listener(data)
    const tookMs = performance.now() - started
    if (this.#listeners.size > 0) this.#schedule(Math.max(this.#options.periodMs, tookMs / largestShare))
  }

  async #fingerprints({ runs }: DashboardData): Promise<string> {
    const each = await Promise.all(runs.map(async ({ id, folder }) => `${id} ${await fingerprint(folder)}`))
    return each.join('\n')
  }

  async #read(): Promise<DashboardData> {
    const { paths, carbon } = this.#options
    const seen = await this.#fingerprints(this.#data)
    // A run that falls silent changes its state without writing; new folders appear beside the old ones.
    const isRunning = this.#data.runs.some(({ state }) => state === 'running')
    const isStale = Date.now() - this.#data.madeUnixMs > 15_000
    if (seen === this.#seen && !isStale && !isRunning) return this.#data
    try {
      const next = await readDashboard(paths, 'live', carbon)
      this.#seen = await this.#fingerprints(next)
      const isSame = JSON.stringify({ ...next, madeUnixMs: 0 }) === JSON.stringify({ ...this.#data, madeUnixMs: 0 })
      if (!isSame) this.#data = next
      return this.#data
    } catch (error) {
      const found = error instanceof Error ? error.message : String(error)
      const problem = {
        severity: 'error' as const,
        code: 'ERR_RUN_MISSING',
        found: `The runs cannot be read any more: ${found}`,
        remedy: 'What is shown is what was read before.',
      }
      if (this.#data.problems.some((known) => known.found === problem.found)) return this.#data
      this.#data = { ...this.#data, problems: [...this.#data.problems, problem] }
      return this.#data
    }
  }
}
