/** A clock that only waiting moves, so that a schedule of hours is tested in milliseconds. */
export class FakeClock {
  #now: number
  /** Every wait so far, in milliseconds. */
  readonly waits: number[] = []
  /** Called in each wait, before its end, with the instant at which it ends. */
  onSleep: ((unixMs: number) => void | Promise<void>) | undefined

  /** @param now - milliseconds since the epoch */
  constructor(now: number = Date.parse('2026-03-04T12:00:00Z')) {
    this.#now = now
  }

  /** Milliseconds since the epoch. */
  now(): number {
    return this.#now
  }

  /** Moves on by so many milliseconds; not at all once the signal is aborted. */
  async sleep(milliseconds: number, signal?: AbortSignal): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve))
    const isAborted = (): boolean => signal?.aborted === true
    if (isAborted()) return
    this.waits.push(milliseconds)
    await this.onSleep?.(this.#now + milliseconds)
    if (!isAborted()) this.#now += milliseconds
  }
}
