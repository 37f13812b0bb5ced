import { emptySummary, type TestSummary } from './test-summary.ts'

type Section = 'tests' | 'successes' | 'failures'

/**
 * Reads the combined output of `cargo test -- --show-output`, line by line. The Rust harness knows no skipping at run
 * time, so a Rust test that cannot run here prints `SKIPPED: <reason>` and returns; it counts as skipped.
 * `#[ignore = "reason"]` counts as skipped too; `#[ignore]` without a reason is a failure.
 */
export class CargoSummary {
  readonly summary: TestSummary = emptySummary()
  #binary = 'cargo'
  #section: Section = 'tests'
  #test = ''

  /** Takes one line and returns whether to show it: what passing tests print is dropped. */
  add(line: string): boolean {
    const binary = /^\s*(?:Running .*\((?:.*\/)?([\w-]+)-[0-9a-f]+\)|Doc-tests (\w+))$/.exec(line)
    if (binary) this.#binary = binary[1] ?? `${binary[2]} doc-tests`
    if (line === 'successes:' || line === 'failures:') this.#section = line.slice(0, -1) as Section
    if (line.startsWith('test result: ')) this.#section = 'tests'
    if (this.#section === 'tests') this.#addTestLine(line)
    if (this.#section === 'successes') this.#addOutputLine(line)
    return this.#section !== 'successes'
  }

  /** Takes cargo's exit status: a build that failed has no failing test to show for it. */
  end(status: number): void {
    if (status !== 0 && this.summary.failed === 0) this.#fail(`cargo test exited with status ${status} before testing`)
  }

  #addTestLine(line: string): void {
    const test = /^test (.+?) \.\.\. (ok|FAILED|ignored)(?:, (.*))?$/.exec(line)
    if (!test) return
    const [, testName, state, reason] = test
    const name = `${this.#binary} > ${testName}`
    if (state === 'ok') this.summary.passed += 1
    else if (state === 'ignored' && reason) this.summary.skipped.push({ name, reason })
    else this.#fail(state === 'ignored' ? `${name}: ignored without a reason` : name)
  }

  #addOutputLine(line: string): void {
    this.#test = /^---- (.+) stdout ----$/.exec(line)?.[1] ?? this.#test
    const reason = /^skipped: (.+)$/i.exec(line)?.[1]
    if (reason === undefined || this.#test === '') return
    this.summary.skipped.push({ name: `${this.#binary} > ${this.#test}`, reason })
    this.summary.passed -= 1
    this.#test = '' // a test is skipped once, however often it says so
  }

  #fail(text: string): void {
    this.summary.failed += 1
    this.summary.failures.push(text)
  }
}
