/** The part of a test runner that the suites use; vitest, jest and node:test with an `expect` fit. */
export interface ConformanceRunner {
  describe(name: string, body: () => void): void
  it(name: string, body: () => void | Promise<void>): void
}

/** A test of a suite that is left out, with the reason that is printed. */
export interface ConformanceSkip {
  /** Name of the test. */
  readonly test: string
  /** Why it does not apply. */
  readonly reason: string
}

/** Fails the running test. */
export function fail(message: string): never {
  throw new Error(message)
}

/** Fails the running test unless `condition` holds. */
export function must(condition: boolean, message: string): asserts condition {
  if (!condition) fail(message)
}

/** Largest |left − right|. */
export function largestDifference(left: readonly number[], right: readonly number[]): number {
  if (left.length !== right.length) return Number.POSITIVE_INFINITY
  return left.reduce((worst, value, index) => {
    const distance = Math.abs(value - (right[index] as number))
    return Number.isNaN(distance) ? Number.POSITIVE_INFINITY : Math.max(worst, distance)
  }, 0)
}

/** Registers a suite's tests, leaving out the skipped ones with a printed reason. Unknown skips fail. */
export function register(
  runner: ConformanceRunner,
  suite: string,
  tests: ReadonlyMap<string, () => Promise<void>>,
  skips: readonly ConformanceSkip[],
): void {
  const unknown = skips.filter(({ test }) => !tests.has(test))
  must(unknown.length === 0, `${suite} has no test named ${unknown.map(({ test }) => test).join(', ')}`)
  runner.describe(suite, () => {
    for (const [name, body] of tests) {
      const skip = skips.find(({ test }) => test === name)
      if (skip === undefined) runner.it(name, body)
      else console.log(`${suite}: left out "${name}": ${skip.reason}`)
    }
  })
}
