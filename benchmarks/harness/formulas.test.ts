import { describe, expect, it } from 'vitest'
import { readDecoderConfig } from '@swift/models'
import type { OpTime } from '@swift/tensor'
import { loadFactor, modelledJoules } from './energy-model.ts'
import { groupOps, rooflineSeconds } from './profile-document.ts'
import { randomTokens } from './random-model.ts'
import { configOf, linearWeights, loraFlopsPerToken, shapes } from './shapes.ts'
import { drawChart, roundTicks } from './svg-chart.ts'

describe('shapes', () => {
  it('have the weights of Qwen3-0.6B: 440 million in its layers', () => {
    expect(linearWeights(shapes['qwen3-0.6b'])).toBe(28 * (1024 * (2048 + 1024 + 1024 + 2048) + 3 * 1024 * 3072))
    expect(linearWeights(shapes['qwen3-0.6b'])).toBe(440_401_920)
  })

  it('cost about 2.6 GFLOP per token of LoRA training, more with length and rank', () => {
    const cost = (length: number, rank: number): number => loraFlopsPerToken(shapes['qwen3-0.6b'], length, rank)
    expect(cost(512, 16) / 1e9).toBeGreaterThan(2.4)
    expect(cost(512, 16) / 1e9).toBeLessThan(2.8)
    expect(cost(1024, 16) - cost(512, 16)).toBe(28 * 7 * 512 * 2048)
    expect(cost(512, 32)).toBeGreaterThan(cost(512, 16))
  })

  it('are configurations our models read', () => {
    expect(readDecoderConfig(configOf(shapes.tiny))).toMatchObject({ layerCount: 6, heads: 4, keyValueHeads: 2 })
  })
})

it('random tokens repeat with their seed and stay in the vocabulary', () => {
  const tokens = randomTokens(1000, 97, 3)
  expect(tokens).toEqual(randomTokens(1000, 97, 3))
  expect(tokens).not.toEqual(randomTokens(1000, 97, 4))
  expect(new Set(tokens).size).toBeGreaterThan(90)
  expect(tokens.every((id) => Number.isInteger(id) && id >= 0 && id < 97)).toBe(true)
})

it('the energy model is the ledger’s curve', () => {
  expect([0, 0.1, 0.3, 0.5, 1, 2].map((load) => Number(loadFactor(load).toFixed(6)))).toEqual([
    0.12, 0.32, 0.535, 0.75, 1.02, 1.02,
  ])
  // Half of two cores busy for a second, at 8 W: three quarters of that.
  expect(modelledJoules(8, 1, 1, 2)).toBeCloseTo(6, 12)
})

it('ops are grouped, longest first, each rated by what limits it', () => {
  const op = (name: string, durationMs: number, flops: number, bytes: number): OpTime => ({
    name,
    operands: '',
    startMs: 0,
    durationMs,
    flops,
    bytes,
  })
  const ops = [op('norm', 1, 10, 1e6), op('linear', 2, 4e9, 1e6), op('linear', 2, 4e9, 1e6)]
  const groups = groupOps(ops, ({ name }) => name, 1, 10, { flops: 4e12, bytes: 2e9 })
  expect(groups.map(({ name }) => name)).toEqual(['linear', 'norm'])
  expect(groups[0]).toMatchObject({ calls: 2, ms: 4, share: 0.4, unit: 'GFLOP/s', rate: 2000, ofLimit: 0.5 })
  expect(groups[1]).toMatchObject({ unit: 'GB/s', rate: 1, ofLimit: 0.5 })
})

describe('charts', () => {
  it('have round ticks that cover what is drawn', () => {
    expect(roundTicks(87)).toEqual([0, 50, 100])
    expect(roundTicks(400)).toEqual([0, 100, 200, 300, 400])
    expect(roundTicks(0.3).at(-1)).toBeGreaterThanOrEqual(0.3)
  })

  it('are SVG with every measured point, names escaped', () => {
    const points: [number, number][] = [
      [256, 10],
      [512, 20],
      [1024, 15],
    ]
    const svg = drawChart(
      [
        {
          title: 'a < b',
          xLabel: 'x',
          yLabel: 'y',
          series: [
            { name: 'm', points },
            { name: 'f', points, isFormula: true },
          ],
        },
      ],
      'c & d',
    )
    expect(svg.match(/<circle/g)).toHaveLength(3)
    expect(svg.match(/stroke-dasharray/g)).toHaveLength(1)
    expect(svg).toContain('a &lt; b')
    expect(svg).toContain('c &amp; d')
    expect(svg).not.toContain('NaN')
  })

  it('refuse a panel without points', () => {
    expect(() => drawChart([{ title: 'empty', xLabel: '', yLabel: '', series: [] }], '')).toThrow('empty')
  })
})

it('takes each op at its arithmetic or its bytes, whichever is longer', () => {
  const ops = [
    { flops: 100, bytes: 1 },
    { flops: 1, bytes: 30 },
  ]
  expect(rooflineSeconds(ops, { flops: 50, bytes: 10 })).toBe(2 + 3)
  expect(rooflineSeconds([], { flops: 50, bytes: 10 })).toBe(0)
})
