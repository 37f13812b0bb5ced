import { expect, it } from 'vitest'
import { learningRateAt, type Schedule } from './schedule.ts'

const base = { peak: 2e-4, totalSteps: 100, warmupSteps: 10 }
const at = (type: Schedule['type'], step: number): number => learningRateAt({ ...base, type }, step)

it('rises linearly from 0 while it warms up', () => {
  for (const type of ['constant', 'linear', 'cosine', 'cosine_with_min_lr'] as const) {
    expect(at(type, 1)).toBe(0)
    expect(at(type, 6)).toBeCloseTo(1e-4, 12)
    expect(at(type, 11)).toBeCloseTo(2e-4, 12)
  }
})

it('follows the formulas of transformers after warmup', () => {
  // get_linear_schedule_with_warmup, get_cosine_schedule_with_warmup and its min-lr variant at 55 updates done.
  expect(at('constant', 56)).toBe(2e-4)
  expect(at('linear', 56)).toBeCloseTo((2e-4 * 45) / 90, 12)
  expect(at('cosine', 56)).toBeCloseTo(2e-4 * 0.5 * (1 + Math.cos(Math.PI * 0.5)), 12)
  expect(at('cosine_with_min_lr', 56)).toBeCloseTo(2e-5 + 1.8e-4 * 0.5, 12)
})

it('ends where it should', () => {
  expect(at('linear', 101)).toBe(0)
  expect(at('cosine', 101)).toBeCloseTo(0, 12)
  expect(at('cosine_with_min_lr', 101)).toBeCloseTo(2e-5, 12)
  expect(at('cosine', 500)).toBeCloseTo(0, 12)
})

it('needs no warmup', () => {
  expect(learningRateAt({ type: 'cosine', peak: 1, totalSteps: 10, warmupSteps: 0 }, 1)).toBe(1)
})
