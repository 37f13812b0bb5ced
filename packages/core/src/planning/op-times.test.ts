import { describe, expect, it } from 'vitest'
import { OpTimes, type OpWork, type ProbedOps } from './op-times.ts'

const rates = { flopsPerSecond: 1e9, bytesPerSecond: 1e8, secondsPerOp: 1e-5 }

/** A product of `tokens` rows by a weight: costs 1 ms by itself and 10 µs a token unless told otherwise. */
function linear(tokens: number, durationMs = 1 + 0.01 * tokens, rows = 8): OpWork & { durationMs: number } {
  const operands = `float32[${tokens}, 4] bfloat16[${rows}, 4] - - -`
  return { name: 'linear', operands, flops: 2 * tokens * 4 * rows, bytes: 4 * tokens * (4 + rows), durationMs }
}

const probed = (...batches: readonly (readonly [tokens: number, ...ops: ProbedOps['ops']])[]): ProbedOps[] =>
  batches.map(([tokens, ...ops]) => ({ tokens, ops }))

describe('times of ops', () => {
  it('takes the median time of a probed op and adds the overhead of a call', () => {
    const times = new OpTimes(probed([16, linear(16, 2), linear(16, 90), linear(16, 3)]), rates)
    expect(times.secondsOf(linear(16), 16)).toBeCloseTo(3.01e-3, 9)
    const even = new OpTimes(probed([16, linear(16, 2), linear(16, 90), linear(16, 3), linear(16, 5)]), rates)
    expect(even.secondsOf(linear(16), 16)).toBeCloseTo(4.01e-3, 9)
  })

  it('follows the line through two batches to a longer and a shorter one', () => {
    const times = new OpTimes(probed([25, linear(25)], [100, linear(100)]), rates)
    expect(times.secondsOf(linear(400), 400)).toBeCloseTo(5e-3 + 1e-5, 9)
    expect(times.secondsOf(linear(50), 50)).toBeCloseTo(1.5e-3 + 1e-5, 9)
    expect(times.secondsOf(linear(10), 10)).toBeCloseTo(1.1e-3 + 1e-5, 9)
  })

  it('grows at most in proportion and at least by a fourth of it, whatever noise says', () => {
    const steep = new OpTimes(probed([25, linear(25, 0.1)], [100, linear(100, 10)]), rates)
    expect(steep.secondsOf(linear(200), 200)).toBeCloseTo(20e-3 + 1e-5, 9)
    const falling = new OpTimes(probed([25, linear(25, 12)], [100, linear(100, 10)]), rates)
    expect(falling.secondsOf(linear(200), 200)).toBeCloseTo(12.5e-3 + 1e-5, 9)
    expect(falling.secondsOf(linear(10), 10)).toBeGreaterThanOrEqual(0)
  })

  it('tells weights of different extents apart, also when one has as many rows as the batch has tokens', () => {
    const times = new OpTimes(probed([16, linear(16, 2, 8), linear(16, 4, 64)]), rates)
    expect(times.secondsOf(linear(16, 0, 64), 16)).toBeCloseTo(4.01e-3, 9)
    expect(times.knows(linear(64, 0, 64), 64)).toBe(true)
    expect(times.secondsOf(linear(64, 0, 64), 64)).toBeCloseTo(16.01e-3, 9)
    expect(times.knows(linear(16, 0, 32), 16)).toBe(false)
  })

  it('takes float32 weights with as many rows as tokens for weights where the flow alone leaves no match', () => {
    const full = (tokens: number, durationMs: number): OpWork & { durationMs: number } => ({
      ...linear(tokens, durationMs, 64),
      operands: `float32[${tokens}, 4] float32[64, 4] - - -`,
    })
    const times = new OpTimes(probed([16, full(16, 4)]), rates)
    expect(times.secondsOf(full(64, 0), 64)).toBeCloseTo(16.01e-3, 9)
  })

  it('takes an op over other extents from its nearest relative, in proportion to the work', () => {
    const times = new OpTimes(probed([16, linear(16, 2, 8), linear(16, 8, 64)]), rates)
    expect(times.secondsOf(linear(16, 0, 128), 16)).toBeCloseTo(16.01e-3, 9)
    expect(times.secondsOf(linear(16, 0, 4), 16)).toBeCloseTo(1.01e-3, 9)
  })

  it('takes an op that was not probed by the general rates, the slower of arithmetic and traffic', () => {
    const times = new OpTimes([], rates)
    const update = { name: 'adamW', operands: 'float32[10]', flops: 1e6, bytes: 1e6 }
    expect(times.secondsOf(update, 16)).toBeCloseTo(1e-2 + 1e-5, 9)
    expect(times.secondsOf({ ...update, flops: 1e8 }, 16)).toBeCloseTo(1e-1 + 1e-5, 9)
  })

  it('counts only the part of the work that the contents leave', () => {
    const times = new OpTimes(probed([16, linear(16, 2)]), rates)
    const growing = times.secondsOf(linear(64), 64, 0.5)
    expect(growing).toBeCloseTo(4e-3 + 1e-5, 9)
  })
})
