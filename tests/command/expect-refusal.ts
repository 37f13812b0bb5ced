import { expect } from 'vitest'
import { runSwift, type SwiftCall } from './run-swift.ts'

/** What a coded error says. */
export interface Refusal {
  readonly code: string
  readonly asked: string
  readonly found: string
  readonly remedy: string
}

/** Reads the error that a call printed for people. */
export function readRefusal(stderr: string): Refusal {
  const match = /^error (ERR_[A-Z0-9_]+)\n {2}asked {3}(.+)\n {2}found {3}(.+)\n {2}to do {3}(.+)\n$/.exec(stderr)
  expect(match, `standard error is a whole coded error and nothing else:\n${stderr}`).not.toBeNull()
  const [, code = '', asked = '', found = '', remedy = ''] = match ?? []
  return { code, asked, found, remedy }
}

/** Runs the command, which must refuse: exit code 2 and an error with all its parts. */
export async function expectRefusal(words: readonly string[], code: string, call: SwiftCall = {}): Promise<Refusal> {
  const run = await runSwift(words, call)
  expect(run.code, `${words.join(' ')}\n${run.stdout}${run.stderr}`).toBe(2)
  const refusal = readRefusal(run.stderr)
  expect(refusal.code).toBe(code)
  return refusal
}
