import { setTimeout as sleep } from 'node:timers/promises'

/** Time between two questions to the native meter, which samples no faster. */
const pollMs = 5

/**
 * Ask until there is an answer.
 * @param ask returns `undefined` while there is none
 * @param timeoutMs how long to ask
 * @returns the answer, or `undefined` when the time is over
 */
export async function poll<T>(ask: () => T | undefined, timeoutMs: number): Promise<T | undefined> {
  const deadline = performance.now() + timeoutMs
  for (;;) {
    const answer = ask()
    if (answer !== undefined) return answer
    if (performance.now() >= deadline) return undefined
    await sleep(pollMs)
  }
}
