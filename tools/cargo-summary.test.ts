import { expect, it } from 'vitest'
import { CargoSummary } from './cargo-summary.ts'
import { formatSummary, mergeSummaries } from './test-summary.ts'

const output = `     Running unittests src/lib.rs (target/debug/deps/swift_kernels-0123456789abcdef)

running 4 tests
test linear::matches_oracle ... ok
test linear::avx512 ... ok
test slow ... ignored, takes an hour
test broken ... FAILED

successes:

---- linear::avx512 stdout ----
SKIPPED: this CPU has no AVX-512
SKIPPED: this CPU has no AVX-512


successes:
    linear::avx512
    linear::matches_oracle

failures:

---- broken stdout ----
expected 1, found 2

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
   Doc-tests swift_kernels
test src/lib.rs - (line 3) ... ok
test unexplained ... ignored`

it('counts passes, failures and skips with their reasons', () => {
  const cargo = new CargoSummary()
  const shown = output.split('\n').filter((line) => cargo.add(line))
  cargo.end(101)
  expect(cargo.summary).toEqual({
    passed: 2,
    failed: 2,
    skipped: [
      { name: 'swift_kernels > slow', reason: 'takes an hour' },
      { name: 'swift_kernels > linear::avx512', reason: 'this CPU has no AVX-512' },
    ],
    failures: ['swift_kernels > broken', 'swift_kernels doc-tests > unexplained: ignored without a reason'],
  })
  expect(shown).toContain('expected 1, found 2')
  expect(shown).not.toContain('---- linear::avx512 stdout ----')
})

it('counts a build that failed as a failure', () => {
  const cargo = new CargoSummary()
  cargo.add('error: could not compile `swift-kernels`')
  cargo.end(101)
  expect(cargo.summary.failed).toBe(1)
})

it('closes with one line of totals over all runners', () => {
  const text = formatSummary(
    mergeSummaries([
      { passed: 3, failed: 0, skipped: [{ name: 'a', reason: 'no GPU' }], failures: [] },
      { passed: 2, failed: 1, skipped: [{ name: 'b', reason: 'no GPU' }], failures: ['c'] },
    ]),
  )
  expect(text.split('\n').at(-1)).toBe('5 passed, 1 failed, 2 skipped')
  expect(text).toContain('no GPU (2)')
})
