import { expect, it } from 'vitest'
import { fineTune } from './check.ts'

// The whole promise, with the real settings: about 10 s on two cores, more where other tests run beside it.
it('QLoRA teaches the embedded model to answer: below 10 % of the held-out rows before, above 90 % after', async () => {
  const { before, after, samples } = await fineTune(42)
  expect(before).toBeLessThan(0.1)
  expect(after).toBeGreaterThan(0.9)
  expect(samples).toHaveLength(229)
}, 300_000)
