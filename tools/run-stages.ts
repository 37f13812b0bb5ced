export interface Stage {
  readonly name: string
  /** Resolves to an exit status; 0 is success. */
  readonly run: () => Promise<number>
}

interface StageResult {
  readonly name: string
  readonly status: number
  readonly durationMs: number
}

function formatSeconds(durationMs: number): string {
  return `${(durationMs / 1000).toFixed(1).padStart(7)} s`
}

/**
 * Runs stages one after the other, all of them even where one fails, and prints a table of times at the end.
 * With `stopAtFailure` (default false) the first failure ends it: for stages that build on each other.
 * Returns the exit status for the process.
 */
export async function runStages(
  stages: readonly Stage[],
  options: { readonly stopAtFailure?: boolean } = {},
): Promise<number> {
  const results: StageResult[] = []
  for (const stage of stages) {
    console.log(`\n── ${stage.name}`)
    const startMs = performance.now()
    const status = await stage.run()
    results.push({ name: stage.name, status, durationMs: performance.now() - startMs })
    if (status !== 0 && options.stopAtFailure) break
  }
  console.log('')
  for (const { name, status, durationMs } of results) {
    console.log(`${formatSeconds(durationMs)}  ${status === 0 ? 'ok    ' : 'FAILED'}  ${name}`)
  }
  return results.every((result) => result.status === 0) ? 0 : 1
}
