import { describe, expect, it } from 'vitest'
import { formatMarkdown, formatNumber, formatTable } from './format-table.ts'
import { makeRow } from './row.ts'
import { summarise } from './statistics.ts'

describe('summarise', () => {
  it('takes the middle of an odd count and the mean of the two middle ones of an even count', () => {
    expect(summarise([5, 1, 3])).toEqual({ median: 3, min: 1, max: 5, count: 3 })
    expect(summarise([4, 1, 3, 10])).toEqual({ median: 3.5, min: 1, max: 10, count: 4 })
  })

  it('sorts numbers as numbers', () => {
    expect(summarise([10, 9, 100]).median).toBe(10)
  })

  it('refuses nothing and what is no number', () => {
    expect(() => summarise([])).toThrow(RangeError)
    expect(() => summarise([1, Number.NaN])).toThrow(RangeError)
  })
})

describe('makeRow', () => {
  it('says above 1 when ours is better, whichever direction is better', () => {
    const speed = makeRow({ name: 'speed', unit: 'tokens/s', ours: [30], peer: [10], limit: 60 })
    expect(speed).toMatchObject({ ratio: 3, fractionOfLimit: 0.5 })
    const memory = makeRow({ name: 'memory', unit: 'GiB', ours: [2], peer: [6], lowerIsBetter: true })
    expect(memory.ratio).toBe(3)
  })

  it('leaves out what is not there instead of calling it 0', () => {
    const row = makeRow({ name: 'x', unit: 's', ours: [1], peer: [], peerName: 'absent' })
    expect(row).toMatchObject({ ours: 1, peer: null, ratio: null, limit: null, fractionOfLimit: null, peerName: null })
  })

  it('takes the best rounds where it is told to', () => {
    const parts = { name: 'x', unit: 's', ours: [2, 4, 3], peer: [8, 1, 2], statistic: 'best' } as const
    expect(makeRow(parts)).toMatchObject({ ours: 4, peer: 8, ratio: 0.5, statistic: 'best' })
    expect(makeRow({ ...parts, lowerIsBetter: true })).toMatchObject({ ours: 2, peer: 1, ratio: 0.5 })
  })

  it('is disturbed above a tenth of the CPU only', () => {
    const disturbed = (othersShare?: number): boolean =>
      makeRow({ name: 'x', unit: 's', ours: [1], othersShare }).disturbed
    expect([disturbed(), disturbed(0.1), disturbed(0.11)]).toEqual([false, false, true])
  })
})

describe('a table', () => {
  it('shows the rounds, the ratio and why a figure is not to be trusted, without empty columns', () => {
    const rows = [
      makeRow({ name: 'gemm', unit: 'GFLOP/s', ours: [2, 4, 3], peer: [1.5], peerName: 'torch', othersShare: 0.5 }),
    ]
    const text = formatTable(rows)
    for (const part of ['3.000 (2.000–4.000)', '2.00×', 'torch', 'others took 50 % of the CPU'])
      expect(text).toContain(part)
    expect(text).not.toContain('of limit')
  })

  it('rounds to four digits and shortens millions', () => {
    expect([0.012_345, 2.7154, 512, 151_936, 2.5e9, 0].map(formatNumber)).toEqual([
      '0.01235',
      '2.715',
      '512.0',
      '151936',
      '2.500 G',
      '0',
    ])
    expect(formatNumber(null)).toBe('')
  })

  it('is also written in Markdown', () => {
    expect(formatMarkdown(['a', 'b'], [['1', '2']])).toBe('| a | b |\n| --- | --- |\n| 1 | 2 |')
  })
})
