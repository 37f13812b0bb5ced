// `npm test`: everything from nothing. Installs, builds the native module, runs every vitest project and every crate's
// tests, and closes with what was skipped and why. Arguments go to vitest alone: `npm test -- --project @swift/core`.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { buildFakeGpus, buildNative, installDependencies } from '../build-native.ts'
import { CargoSummary } from '../cargo-summary.ts'
import { runCommand } from '../run-command.ts'
import { runStages, type Stage } from '../run-stages.ts'
import { emptySummary, formatSummary, mergeSummaries, readSummary, type TestSummary } from '../test-summary.ts'

const vitestArguments = process.argv.slice(2)
const summaries: TestSummary[] = []

async function runVitest(): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'swift-test-'))
  const file = join(folder, 'vitest.json')
  const reporters = ['--reporter=default', '--reporter=./tools/vitest-summary-reporter.ts']
  const status = await runCommand('vitest', ['run', ...reporters, ...vitestArguments], {
    environment: { SWIFT_TEST_SUMMARY: file },
  })
  const summary = readSummary(file, 'vitest')
  summaries.push(summary)
  rmSync(folder, { recursive: true })
  return status || Math.min(summary.failed, 1)
}

async function runCargo(): Promise<number> {
  const cargo = new CargoSummary()
  // The binding crate has no algorithm and links only inside Node; its tests are the vitest ones of @swift/kernels.
  const command = 'exec cargo test --workspace --exclude swift-node --no-fail-fast -j 2 -- --show-output 2>&1'
  const status = await runCommand('sh', ['-c', command], {
    folder: 'native/kernels',
    environment: { RUST_TEST_THREADS: process.env['RUST_TEST_THREADS'] ?? '2' },
    onLine: (line) => {
      if (cargo.add(line)) console.log(line)
    },
  })
  cargo.end(status)
  summaries.push(cargo.summary)
  return status || Math.min(cargo.summary.failed, 1)
}

const prepare: Stage[] = [
  { name: 'install', run: installDependencies },
  { name: 'native module', run: buildNative },
  { name: 'stand-in for GPUs', run: buildFakeGpus },
]
const tests: Stage[] = [{ name: 'vitest', run: runVitest }]
if (vitestArguments.length === 0) tests.push({ name: 'cargo test', run: runCargo })

let status = await runStages(prepare, { stopAtFailure: true })
if (status === 0) status = await runStages(tests)
else summaries.push({ ...emptySummary(), failed: 1, failures: ['could not install or build; the log above says why'] })
console.log(`\n${formatSummary(mergeSummaries(summaries))}`)
process.exitCode = status
