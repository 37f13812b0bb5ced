import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { FakePowercapTree } from './fake-powercap-tree.ts'
import { PowercapFeeder } from './powercap-feeder.ts'
import { PowerTrace } from './power-trace.ts'

describe('PowerTrace', () => {
  const trace = new PowerTrace([
    { milliseconds: 0, watts: 100 },
    { milliseconds: 100, watts: 100 },
    { milliseconds: 150, watts: 500 },
    { milliseconds: 151, watts: 0.5 },
  ])

  it('has the area of its lines, to the nanojoule', () => {
    expect(trace.durationNanoseconds).toBe(151_000_000n)
    expect(trace.nanojoulesUntil(0n)).toBe(0n)
    expect(trace.nanojoulesUntil(100_000_000n)).toBe(10_000_000_000n)
    // 25 ms up the ramp: 100 W to 300 W.
    expect(trace.nanojoulesUntil(125_000_000n)).toBe(15_000_000_000n)
    expect(trace.nanojoulesUntil(150_000_000n)).toBe(25_000_000_000n)
    expect(trace.nanojoulesUntil(151_000_000n)).toBe(25_250_250_000n)
    expect(trace.nanojoulesUntil(1_151_000_000n)).toBe(25_750_250_000n)
  })

  it('knows its power at every instant', () => {
    const at = [0n, 99_999_999n, 125_000_000n, 150_000_000n, 151_000_000n, 9_000_000_000n]
    expect(at.map((ns) => trace.wattsAt(ns))).toEqual([100, 100, 300, 500, 0.5, 0.5])
  })

  it('is what thin slices of it add up to, and never falls', () => {
    let sum = 0n
    let energy = 0
    for (let ns = 0n; ns < 151_000_000n; ns += 7919n) {
      const step = trace.nanojoulesUntil(ns + 7919n) - trace.nanojoulesUntil(ns)
      expect(step).toBeGreaterThanOrEqual(0n)
      sum += step
      energy += Number(step)
    }
    const end = (151_000_000n / 7919n + 1n) * 7919n
    expect(sum).toBe(trace.nanojoulesUntil(end))
    expect(energy / 1e9).toBeCloseTo(25.25, 1)
  })

  it('refuses power below zero and points out of order', () => {
    expect(() => new PowerTrace([{ milliseconds: 1, watts: 1 }])).toThrow(RangeError)
    expect(() => new PowerTrace([{ milliseconds: 0, watts: -1 }])).toThrow(RangeError)
    const twice = [0, 5, 5].map((milliseconds) => ({ milliseconds, watts: 1 }))
    expect(() => new PowerTrace(twice)).toThrow(RangeError)
  })
})

describe('PowercapFeeder', () => {
  it('moves counters by a virtual clock, over their wraps', () => {
    using tree = new FakePowercapTree([
      { entry: 'intel-rapl:0', name: 'package-0', unitNanojoules: 61 },
      { entry: 'intel-rapl:0:0', name: 'dram' },
    ])
    const ramp = new PowerTrace([
      { milliseconds: 0, watts: 0 },
      { milliseconds: 3000, watts: 400 },
    ])
    const feeder = new PowercapFeeder(tree, { 'intel-rapl:0': ramp, 'intel-rapl:0:0': PowerTrace.constant(3.5) })
    for (const milliseconds of [0.5, 99.5, 900, 3000]) feeder.advance(milliseconds)
    expect(feeder.nowNanoseconds).toBe(4_000_000_000n)
    expect([feeder.fed('intel-rapl:0'), feeder.fed('intel-rapl:0:0')]).toEqual([1_000_000_000_000n, 14_000_000_000n])
    const shown = (entry: string): bigint => BigInt(readFileSync(join(tree.root, entry, 'energy_uj'), 'utf8').trim())
    expect(shown('intel-rapl:0')).toBe((1_000_000_000_000n % tree.modulus('intel-rapl:0')) / 1000n)
    expect(shown('intel-rapl:0:0')).toBe(14_000_000n)
    expect(() => feeder.advance(-1)).toThrow(RangeError)
    expect(() => feeder.fed('psys')).toThrow(RangeError)
  })
})
