import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { describeCommit, describeMachine, ownVersions } from './machine.ts'
import { parseArguments } from './parse-arguments.ts'
import { parseResult, writeResult, type Result } from './result.ts'
import { readResults, replaceResults } from './results-table.ts'
import { makeRow } from './row.ts'
import type { Suite } from './suite.ts'

function resultOf(rows: Result['rows']): Result {
  const machine = describeMachine()
  const date = '2026-11-24T00:00:00.000Z'
  return {
    suite: 'test',
    machine,
    versions: ownVersions(),
    commit: describeCommit(),
    date,
    options: {},
    seconds: 1,
    rows,
  }
}

describe('a results file', () => {
  it('holds machine, versions, commit and rows, and reads back as written', () => {
    const folder = mkdtempSync(join(tmpdir(), 'swift-bench-test-'))
    try {
      const path = join(folder, 'deep', 'result.json')
      const result = resultOf([makeRow({ name: 'x', unit: 's', ours: [1, 2, 3], peer: [4] })])
      writeResult(path, result)
      expect(parseResult(readFileSync(path, 'utf8'))).toEqual(result)
      expect(result.machine.processor).not.toBe('')
      expect(result.commit).toMatch(/^(unknown|[0-9a-f]{40}(\+changes)?)$/)
    } finally {
      rmSync(folder, { recursive: true })
    }
  })

  it.each([
    ['suite', { suite: undefined }],
    ['rows must be a list', { rows: {} }],
    ['row 0: unit', { rows: [{ ...makeRow({ name: 'x', unit: 's' }), unit: undefined }] }],
    ['row 0: ours', { rows: [{ ...makeRow({ name: 'x', unit: 's' }), ours: '3' }] }],
  ])('is refused for the fault in %s', (message, fault) => {
    expect(() => parseResult(JSON.stringify({ ...resultOf([]), ...fault }))).toThrow(message)
  })

  it('is what every committed file is', () => {
    const folder = new URL('../results/', import.meta.url)
    for (const name of readdirSync(folder).filter((file) => file.endsWith('.json'))) {
      const result = parseResult(readFileSync(new URL(name, folder), 'utf8'))
      expect(result.rows.length, name).toBeGreaterThan(0)
      expect(result.commit, name).toMatch(/^[0-9a-f]{40}$/)
    }
  })
})

describe('the command line of a suite', () => {
  const table: Suite['options'] = { rounds: { meaning: 'rounds', default: '5' }, built: { meaning: 'a flag' } }

  it('fills defaults in and takes both spellings, flags and the separator', () => {
    const { json, options } = parseArguments(['--', '--json', 'a.json', '--rounds=3', '--built'], table)
    expect(json).toBe('a.json')
    expect(Object.fromEntries(options)).toEqual({ rounds: '3', built: true })
    expect(parseArguments([], table).options.get('rounds')).toBe('5')
  })

  it('refuses what the suite does not know', () => {
    expect(() => parseArguments(['--round', '3'], table)).toThrow('unknown argument --round')
    expect(() => parseArguments(['3'], table)).toThrow('unknown argument 3')
    expect(() => parseArguments(['--json'], table)).toThrow('needs a file')
  })
})

describe('every suite', () => {
  const folder = new URL('../suites/', import.meta.url)
  const names = readdirSync(folder).filter((file) => file.endsWith('.ts'))

  it.each(names)('%s says what it measures and what its options mean', async (name) => {
    const suite = ((await import(new URL(name, folder).href)) as { default: Suite }).default
    expect(suite.summary.length).toBeGreaterThan(10)
    for (const [option, { meaning }] of Object.entries(suite.options)) {
      expect(option).toMatch(/^[a-z][a-z-]*$/)
      expect(option).not.toBe('json')
      expect(meaning).not.toBe('')
    }
  })
})

describe('the table of results', () => {
  const marked = readFileSync(new URL('../README.md', import.meta.url), 'utf8')

  it('stands between the marks and leaves the rest alone', () => {
    const result = resultOf([
      makeRow({ name: 'training', unit: 'tokens/s', ours: [3], peer: [1], peerName: 'PEFT', othersShare: 0.2 }),
    ])
    const text = replaceResults(marked, [result]) ?? ''
    expect(text).toContain('| test | training (disturbed) | 3.000 tokens/s | 1.000 (PEFT) | 3.00× |  |')
    expect(text.startsWith('# Benchmarks')).toBe(true)
    expect(replaceResults('# Nothing', [result])).toBeUndefined()
  })

  it('is that of the committed results', () => {
    expect(replaceResults(marked, readResults(new URL('../results/', import.meta.url)))).toBe(marked)
  })
})
