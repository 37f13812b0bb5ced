import { setTimeout as sleep } from 'node:timers/promises'

/** Time as schedules see it; a test brings its own. */
export interface ScheduleClock {
  /** Milliseconds since the epoch. */
  now(): number
  /** Waits so many milliseconds, or until the signal is aborted. Never rejects. */
  sleep(milliseconds: number, signal?: AbortSignal): Promise<void>
}

/** A timer beyond 2³¹−1 ms fires at once. */
const longestTimerMs = 86_400_000

/** The clock of the machine. */
export const systemClock: ScheduleClock = {
  now: () => Date.now(),
  sleep: async (milliseconds, signal) => {
    const end = Date.now() + milliseconds
    const isAborted = (): boolean => signal?.aborted === true
    const options = signal === undefined ? {} : { signal }
    for (let left = milliseconds; left > 0 && !isAborted(); left = end - Date.now()) {
      await sleep(Math.min(left, longestTimerMs), undefined, options).catch(() => undefined)
    }
  },
}
