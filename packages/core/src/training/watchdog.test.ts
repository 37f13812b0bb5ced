import { expect, it } from 'vitest'
import { Watchdog } from './watchdog.ts'

const good = { step: 3, lossSum: 2, gradientNorm: 1, learningRate: 1e-4 }

it('stops at the first NaN or infinity and names step, checkpoint and remedy', () => {
  const watchdog = new Watchdog(0, 0)
  expect(watchdog.admits(good, undefined)).toBe(true)
  expect(watchdog.looksFirst).toBe(false)
  for (const bad of [{ lossSum: Number.NaN }, { gradientNorm: Number.POSITIVE_INFINITY }]) {
    expect(() => watchdog.admits({ ...good, ...bad }, 'run/checkpoint-2')).toThrow(
      expect.objectContaining({
        code: 'ERR_LOSS_NOT_FINITE',
        message: expect.stringMatching(/Step 3.*run\/checkpoint-2.*learningRate/s),
      }),
    )
  }
})

it('skips as many as it may, also over a resume', () => {
  const watchdog = new Watchdog(2, 1)
  expect(watchdog.looksFirst).toBe(true)
  expect(watchdog.admits({ ...good, lossSum: Number.NaN }, undefined)).toBe(false)
  expect(watchdog.skipped).toBe(2)
  expect(watchdog.admits(good, undefined)).toBe(true)
  expect(() => watchdog.admits({ ...good, lossSum: Number.NaN }, undefined)).toThrow('after 2 skipped updates')
})
