import { expect, it } from 'vitest'
import { sparkline } from './sparkline.ts'

it('shows the whole course in equal stretches, high to low', () => {
  expect(sparkline([8, 4, 2, 1], 4)).toBe('█▆▃▁')
  expect(sparkline([8, 8, 4, 4, 2, 2, 1, 1], 4)).toBe('█▆▃▁')
})

it('holds out with one value, none, and NaN', () => {
  expect(sparkline([], 10)).toBe('')
  expect(sparkline([0.3], 10)).toBe('▁')
  expect(sparkline([1, Number.NaN, 2], 3)).toBe('▁?█')
})
