/** Ctrl-C as a signal: the first asks to stop, the second ends the process with code 130. */
export interface Interruption extends Disposable {
  readonly signal: AbortSignal
}

/** Listens for SIGINT and SIGTERM until disposed. `onFirst` runs at the first. */
export function interruption(onFirst: () => void): Interruption {
  const controller = new AbortController()
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(130)
    controller.abort()
    onFirst()
  }
  process.on('SIGINT', onSignal)
  process.on('SIGTERM', onSignal)
  return {
    signal: controller.signal,
    [Symbol.dispose]: () => {
      process.off('SIGINT', onSignal)
      process.off('SIGTERM', onSignal)
    },
  }
}
