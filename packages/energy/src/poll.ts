import { setTimeout as sleep } from 'node:timers/promises'

/** Longest time between two questions to the native meter; the first ones follow sooner, for what is a sample away. */
const pollMs = 5

/**
 * Ask until there is an answer.
 * @param ask returns `undefined` while there is none
 * @param timeoutMs how long to ask
 * @returns the answer, or `undefined` when the time is over
 */
export async function poll<T>(ask: () => T | undefined, timeoutMs: number): Promise<T | undefined> {
  const deadline = performance.now() + timeoutMs
  for (let wait = 1; ; wait = Math.min(2 * wait, pollMs)) {
    const answer = ask()
    if (answer !== undefined) return answer
    if (performance.now() >= deadline) return undefined
    await sleep(wait)
  }
}
