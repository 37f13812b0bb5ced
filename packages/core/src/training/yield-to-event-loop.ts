/** Resolves after pending timers, sockets and signals had their turn. */
export async function yieldToEventLoop(): Promise<void> {
  await new Promise<void>((resolve) => setImmediate(resolve))
}
