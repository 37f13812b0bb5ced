import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { repositoryRoot } from './repository-root.ts'
import { readSummary } from './test-summary.ts'

it('tells passes, failures and skips apart, and takes no skip without a reason', () => {
  const folder = mkdtempSync(join(tmpdir(), 'swift-reporter-'))
  const file = join(folder, 'summary.json')
  const reporter = join(repositoryRoot, 'tools/vitest-summary-reporter.ts')
  const fixtures = join(repositoryRoot, 'tools/__fixtures__/reporter')
  const vitest = join(repositoryRoot, 'node_modules/vitest/vitest.mjs')
  // The outer run's variables (VITEST, its worker ids) would confuse the inner one.
  const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('VITEST'))
  const environment = { ...Object.fromEntries(inherited), SWIFT_TEST_SUMMARY: file }
  const options = ['run', `--root=${fixtures}`, `--reporter=${reporter}`]
  const { status } = spawnSync(process.execPath, [vitest, ...options], { cwd: fixtures, env: environment })
  const summary = readSummary(file, 'vitest')
  rmSync(folder, { recursive: true })

  expect(status).not.toBe(0)
  expect(summary.passed).toBe(2)
  const name = 'tools/__fixtures__/reporter/every-outcome.test.ts >'
  expect(summary.skipped).toEqual([{ name: `${name} skips with a reason`, reason: 'no such device here' }])
  expect(summary.failures.toSorted()).toEqual([
    'tools/__fixtures__/reporter/does-not-load.test.ts: this file does not load',
    `${name} fails: expected 1 to be 2 // Object.is equality`,
    `${name} is not written: skipped without a reason`,
    `${name} skips silently: skipped without a reason`,
  ])
  expect(summary.failed).toBe(4)
})

it('counts a runner that died as a failure', () => {
  expect(readSummary('/nonexistent/summary.json', 'vitest').failed).toBe(1)
})
