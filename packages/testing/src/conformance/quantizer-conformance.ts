import type { Quantizer } from '@swift/spec'
import { device, linear, normal, scope, type Tensor } from '@swift/tensor'
import { largestDifference, must, register, type ConformanceRunner, type ConformanceSkip } from './runner.ts'

/** What the suite runs on. */
export interface QuantizerConformanceOptions<Options> {
  /** The quantizer under test. */
  readonly quantizer: Quantizer<Options, Tensor>
  /** Valid options, complete. */
  readonly options: Options
  /** Largest mean |w − dequantize(quantize(w))| of normal weights, relative to their deviation. */
  readonly meanErrorBound: number
  /** Tests that do not apply, with the reason that is printed. */
  readonly skip?: readonly ConformanceSkip[]
}

const shapes: readonly (readonly [number, number])[] = [
  [16, 64],
  [7, 192],
  [3, 50],
]

/**
 * Registers the conformance suite of the quantizer port. Claimed capabilities turn their tests on.
 *
 * @example quantizerConformance({ describe, it }, { quantizer: bnb, options, meanErrorBound: 0.08 })
 */
export function quantizerConformance<Options>(
  runner: ConformanceRunner,
  { quantizer, options, meanErrorBound, skip = [] }: QuantizerConformanceOptions<Options>,
): void {
  const tests = new Map<string, () => Promise<void>>()
  const on = device('cpu')
  const dense = (shape: readonly [number, number], seed = 5): Tensor => normal(on, shape, { seed, std: 0.4 })

  const roundTrip = async (
    shape: readonly [number, number],
  ): Promise<{ weight: number[]; restored: number[]; quantized: Tensor }> => {
    const weight = dense(shape)
    const quantized = quantizer.doQuantize(weight, options)
    const restored = quantizer.doDequantize(quantized)
    const result = { weight: await weight.toArray(), restored: await restored.toArray(), quantized }
    weight.release()
    restored.release()
    return result
  }

  tests.set('produces a declared format of the same logical shape', async () => {
    for (const shape of shapes) {
      const { quantized } = await roundTrip(shape)
      must(quantizer.formats.includes(quantized.dtype), `format ${quantized.dtype} is not declared`)
      must(quantized.shape.join() === shape.join(), `[${shape.join(', ')}] became [${quantized.shape.join(', ')}]`)
      quantized.release()
    }
  })

  tests.set('keeps normal weights within its error bound', async () => {
    for (const shape of shapes) {
      const { weight, restored, quantized } = await roundTrip(shape)
      quantized.release()
      const mean =
        weight.reduce((total, value, index) => total + Math.abs(value - (restored[index] as number)), 0) / weight.length
      must(mean / 0.4 <= meanErrorBound, `mean error ${mean / 0.4} of the deviation exceeds ${meanErrorBound}`)
      must(mean > 0, 'no error at all: nothing was quantized')
    }
  })

  tests.set('is deterministic', async () => {
    const first = await roundTrip([16, 64])
    const second = await roundTrip([16, 64])
    first.quantized.release()
    second.quantized.release()
    must(largestDifference(first.restored, second.restored) === 0, 'two runs gave different weights')
  })

  tests.set('quantizes its own output to the same weights', async () => {
    const { restored, quantized } = await roundTrip([16, 64])
    quantized.release()
    const again = on.tensor(Float32Array.from(restored), [16, 64])
    const requantized = quantizer.doQuantize(again, options)
    const back = quantizer.doDequantize(requantized)
    const distance = largestDifference(await back.toArray(), restored)
    for (const tensor of [again, requantized, back]) tensor.release()
    // Double quantization may move a scale by half a step of its 8-bit map: 1/255 of it.
    must(distance <= 0.02, `a second pass moves weights by ${distance}`)
  })

  tests.set('keeps zeros at zero', async () => {
    const zero = on.tensor(new Float32Array(128), [2, 64])
    const quantized = quantizer.doQuantize(zero, options)
    const back = quantizer.doDequantize(quantized)
    const values = await back.toArray()
    for (const tensor of [zero, quantized, back]) tensor.release()
    must(
      values.every((value) => value === 0),
      'a zero weight came back non-zero',
    )
  })

  tests.set('multiplies as its dequantized weight', async () => {
    const computeDType = on.computeDType
    on.computeDType = 'float32'
    const { quantized } = await roundTrip([7, 192])
    const [fast, plain] = scope(() => {
      const x = normal(on, [5, 192], { seed: 9 })
      return [linear(x, quantized), linear(x, quantizer.doDequantize(quantized))] as const
    })
    const distance = largestDifference(await fast.toArray(), await plain.toArray())
    for (const tensor of [quantized, fast, plain]) tensor.release()
    on.computeDType = computeDType
    // 192 products of magnitude ≤ 5 in float32: 192 · 5 · 2⁻²⁴ ≈ 6e-5.
    must(distance <= 2e-4, `the product differs from that of the dequantized weight by ${distance}`)
  })

  tests.set('leaves no memory behind', async () => {
    const before = on.statistics().liveBytes
    const { quantized } = await roundTrip([16, 64])
    quantized.release()
    const left = on.statistics().liveBytes - before
    must(left === 0, `${left} bytes are still live`)
  })

  if (quantizer.capabilities.exports && quantizer.capabilities.imports) {
    tests.set('restores a weight from its own checkpoint tensors', async () => {
      for (const shape of shapes) {
        const { restored, quantized } = await roundTrip(shape)
        const stored = await quantizer.doExport?.(quantized, options)
        must(stored !== undefined, 'exports is claimed without doExport')
        const imported = await quantizer.doImport?.(stored, shape, options)
        must(imported !== undefined, 'imports is claimed without doImport')
        const back = quantizer.doDequantize(imported)
        const distance = largestDifference(await back.toArray(), restored)
        for (const tensor of [quantized, imported, back, ...stored.values()]) tensor.release()
        must(distance === 0, `the imported weight differs by ${distance}`)
      }
    })
    tests.set('recognises the configuration it writes', async () => {
      const written = quantizer.doWriteConfig?.(options)
      must(written !== undefined, 'exports is claimed without doWriteConfig')
      must(quantizer.doReadConfig?.(written) !== undefined, 'its own quantization_config is not recognised')
      must(
        quantizer.doReadConfig?.({ quant_method: 'another' }) === undefined,
        'the configuration of another method is taken for its own',
      )
    })
  }

  register(runner, `quantizer ${quantizer.id}: conformance`, tests, skip)
}
