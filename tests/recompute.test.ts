import type { RecomputePolicy } from '@swift/spec'
import {
  attention,
  clearGradient,
  device,
  gradientOf,
  normal,
  reshape,
  rmsNorm,
  rope,
  sum,
  Tape,
  type Tensor,
} from '@swift/tensor'
import { describe, expect, it } from 'vitest'

const on = device('cpu')
const [tokens, heads, extent] = [32, 2, 16]

interface Outcome {
  readonly gradients: number[][]
  /** Bytes that the tape kept from forward to backward. */
  readonly keptBytes: number
}

/** Attention over rotated queries, behind a norm or not, with the gradients of everything that leads there. */
async function run(recompute: RecomputePolicy, normed: boolean): Promise<Outcome> {
  const leaf = (seed: number): Tensor => {
    const tensor = normal(on, [tokens, heads, extent], { seed })
    tensor.requiresGrad = true
    return tensor
  }
  const [q, k, v] = [leaf(1), leaf(2), leaf(3)] as [Tensor, Tensor, Tensor]
  const weight = normal(on, [extent], { seed: 4 })
  const positions = on.tensor(Int32Array.from({ length: tokens }, (_, index) => index))
  const frequencies = on.tensor(Float32Array.from({ length: extent / 2 }, (_, index) => 0.5 ** index))
  const cuSeqlens = on.tensor(Int32Array.of(0, 20, tokens))
  const before = on.statistics().liveBytes
  using tape = new Tape({ recompute })
  const total = tape.record(() => {
    const turned = (x: Tensor): Tensor => rope(normed ? rmsNorm(x, weight).y : x, positions, frequencies)
    return sum(reshape(attention(turned(q), turned(k), v, cuSeqlens), [tokens * heads * extent]))
  })
  const keptBytes = on.statistics().liveBytes - before
  tape.backward(total)
  const gradients = await Promise.all([q, k, v].map(async (each) => (gradientOf(each) as Tensor).toArray()))
  total.release()
  for (const each of [q, k, v]) {
    clearGradient(each)
    each.release()
  }
  for (const each of [weight, positions, frequencies, cuSeqlens]) each.release()
  return { gradients, keptBytes }
}

describe('selective recompute', () => {
  it('keeps neither normed nor rotated queries and keys, and changes no bit of the gradients', async () => {
    const before = on.statistics().liveBytes
    const none = await run('none', true)
    const selective = await run('selective', true)
    expect(selective.gradients).toEqual(none.gradients)
    // Of q and k, each tokens × heads × extent floats: rotated; the normed ones are kept by nobody.
    expect(none.keptBytes - selective.keptBytes).toBe(2 * 4 * tokens * heads * extent)
    expect(on.statistics().liveBytes).toBe(before)
  })

  it('keeps rotated queries whose input would have to be kept instead', async () => {
    const none = await run('none', false)
    const selective = await run('selective', false)
    expect(selective).toEqual(none)
  })
})
