import {
  clearGradient,
  dequantize,
  device,
  gradientOf,
  linearCrossEntropy,
  normal,
  quantize4bit,
  scope,
  Tape,
  type Tensor,
} from '@swift/tensor'
import { describe, expect, it } from 'vitest'

const [rows, width, vocabulary] = [70, 64, 300]

describe.each(['cpu:portable', 'cpu'] as const)('the head over a 4-bit weight on %s', (name) => {
  const on = device(name)

  async function lossAndGradient(weight: Tensor): Promise<{ readonly loss: number; readonly gradient: number[] }> {
    const { computeDType } = on
    on.computeDType = 'bfloat16'
    const hidden = normal(on, [rows, width], { seed: 3 })
    hidden.requiresGrad = true
    // Every seventh row is dropped.
    const targets = Int32Array.from({ length: rows }, (_, row) => (row % 7 === 0 ? -100 : (row * 37) % vocabulary))
    const placed = on.tensor(targets)
    try {
      using tape = new Tape()
      const lossSum = tape.record(() => linearCrossEntropy(hidden, weight, placed).lossSum.detachFromScope())
      tape.backward(lossSum)
      const [loss] = await lossSum.toArray()
      lossSum.release()
      const gradient = gradientOf(hidden)
      const values = (await gradient?.toArray()) ?? []
      clearGradient(hidden)
      return { loss: loss as number, gradient: values }
    } finally {
      hidden.release()
      placed.release()
      on.computeDType = computeDType
    }
  }

  it('is the head over the dequantized weight', async () => {
    const before = on.statistics().liveBytes
    const dense = scope(() => normal(on, [vocabulary, width], { seed: 4, std: 0.2 }).detachFromScope())
    const quantized = quantize4bit(dense)
    const plain = dequantize(quantized)
    const [expected, found] = [await lossAndGradient(plain), await lossAndGradient(quantized)]
    for (const tensor of [dense, quantized, plain]) tensor.release()
    expect(on.statistics().liveBytes).toBe(before)
    // The codes are decoded to what `dequantize` gives; where the decoder rounds to bfloat16 itself, a weight moves by 2⁻⁹.
    expect(Math.abs(found.loss - expected.loss) / expected.loss).toBeLessThan(1e-3)
    const apart = Math.hypot(...found.gradient.map((value, index) => value - (expected.gradient[index] as number)))
    expect(Math.hypot(...expected.gradient)).toBeGreaterThan(0)
    expect(apart / Math.hypot(...expected.gradient)).toBeLessThan(0.01)
    for (let row = 0; row < rows; row += 7)
      expect(found.gradient.slice(row * width, (row + 1) * width).every((value) => value === 0)).toBe(true)
  })
})
