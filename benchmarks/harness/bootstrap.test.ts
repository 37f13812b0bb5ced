import { expect, it } from 'vitest'
import { bootstrapMean } from './bootstrap.ts'

it('holds the mean, narrows as 1/√n, and is the same in every run', () => {
  const alternating = (count: number): number[] =>
    Array.from({ length: count }, (_, index) => (index % 2 === 0 ? -1 : 1))
  const few = bootstrapMean(alternating(20), { draws: 2000, seed: 3 })
  const many = bootstrapMean(alternating(2000), { draws: 2000, seed: 3 })
  expect(few.mean).toBe(0)
  // ±1.96/√n for values of deviation 1.
  expect(few.high - few.low).toBeGreaterThan(0.7)
  expect(few.high - few.low).toBeLessThan(1)
  expect(many.high - many.low).toBeCloseTo(0.088, 1)
  expect(bootstrapMean(alternating(20), { draws: 2000, seed: 3 })).toEqual(few)
  expect(() => bootstrapMean([], { draws: 10, seed: 1 })).toThrow(RangeError)
})
