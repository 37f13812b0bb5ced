import { readFileSync } from 'node:fs'

export interface SkippedTest {
  /** Package or crate, and the test's full name. */
  readonly name: string
  readonly reason: string
}

/** What one runner saw. */
export interface TestSummary {
  passed: number
  failed: number
  skipped: SkippedTest[]
  /** Failures worth repeating at the very end of a long log. */
  failures: string[]
}

export function emptySummary(): TestSummary {
  return { passed: 0, failed: 0, skipped: [], failures: [] }
}

/** Reads a summary that a runner's reporter wrote; a runner that died before writing one counts as one failure. */
export function readSummary(path: string, runner: string): TestSummary {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as TestSummary
  } catch {
    return { ...emptySummary(), failed: 1, failures: [`${runner} ended without a summary; its own output says why`] }
  }
}

export function mergeSummaries(summaries: readonly TestSummary[]): TestSummary {
  return {
    passed: summaries.reduce((sum, { passed }) => sum + passed, 0),
    failed: summaries.reduce((sum, { failed }) => sum + failed, 0),
    skipped: summaries.flatMap(({ skipped }) => skipped),
    failures: summaries.flatMap(({ failures }) => failures),
  }
}

/** Prints skipped tests by reason, then failures, then the closing line `N passed, N failed, N skipped`. */
export function formatSummary({ passed, failed, skipped, failures }: TestSummary): string {
  const reasons = Map.groupBy(skipped, ({ reason }) => reason)
  const lines: string[] = []
  if (skipped.length > 0) lines.push('Skipped tests, by reason:')
  for (const [reason, tests] of reasons) {
    lines.push(`  ${reason} (${tests.length})`, ...tests.map(({ name }) => `    ${name}`))
  }
  if (failures.length > 0) lines.push('Failures:', ...failures.map((failure) => `  ${failure}`))
  lines.push(`${passed} passed, ${failed} failed, ${skipped.length} skipped`)
  return lines.join('\n')
}
