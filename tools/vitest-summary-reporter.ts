import { writeFileSync } from 'node:fs'
import { relative } from 'node:path'
import { stripVTControlCharacters } from 'node:util'
import type { Reporter, SerializedError, TestCase, TestModule } from 'vitest/node'
import { repositoryRoot } from './repository-root.ts'
import { emptySummary, type TestSummary } from './test-summary.ts'

/**
 * Counts tests and collects the reasons of skipped ones into the JSON file named by `SWIFT_TEST_SUMMARY`.
 * A test skipped without a reason (anything but `context.skip('reason')`) is counted as a failure.
 */
export default class SummaryReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    const summary = emptySummary()
    for (const module of modules) {
      const path = relative(repositoryRoot, module.moduleId)
      for (const test of module.children.allTests()) addTest(summary, test, `${path} > ${test.fullName}`)
      // A file that does not load has no tests, only errors.
      for (const error of module.errors()) addFailure(summary, `${path}: ${error.message}`)
      for (const suite of module.children.allSuites()) {
        for (const error of suite.errors()) addFailure(summary, `${path} > ${suite.fullName}: ${error.message}`)
      }
    }
    for (const error of unhandledErrors) addFailure(summary, `outside of any test: ${error.message}`)
    const file = process.env['SWIFT_TEST_SUMMARY']
    if (file !== undefined) writeFileSync(file, JSON.stringify(summary))
  }
}

function addFailure(summary: TestSummary, text: string): void {
  summary.failed += 1
  summary.failures.push(text)
}

/** A long log is cut somewhere; its end must say why a test failed, not only which. */
function firstLine(error: { readonly message: string } | undefined): string {
  return stripVTControlCharacters(error?.message ?? 'no message').split('\n', 1)[0]!
}

function addTest(summary: TestSummary, test: TestCase, name: string): void {
  const result = test.result()
  if (result.state === 'passed') summary.passed += 1
  else if (result.state === 'failed') addFailure(summary, `${name}: ${firstLine(result.errors[0])}`)
  else if (result.state === 'skipped' && result.note) summary.skipped.push({ name, reason: result.note })
  else if (result.state === 'skipped') addFailure(summary, `${name}: skipped without a reason`)
  else addFailure(summary, `${name}: never ended`)
}
