import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import type { RecomputePolicy } from '@swift/spec'
import { device, scope, Tape, type Device, type Tensor } from '@swift/tensor'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { loadCausalLM } from '../checkpoint/load-causal-lm.ts'
import { Generator } from '../generation/generator.ts'
import { readSafetensors } from '../safetensors/read-safetensors.ts'
import type { CausalLM } from './causal-lm.ts'
import { toDeviceBatch } from './device-batch.ts'

const goldens = fileURLToPath(new URL('../../../../tests/goldens/', import.meta.url))

interface Golden {
  readonly sequences: readonly { readonly inputIds: number[]; readonly greedy: number[] }[]
}

const read = (name: string): Golden => JSON.parse(readFileSync(`${goldens}logits/${name}.json`, 'utf8')) as Golden
const names = ['llama', 'llama-llama3-rope', 'llama-sharded', 'mistral', 'qwen2', 'qwen3', 'qwen3-bf16', 'qwen3-yarn']

/** Packs sequences into one batch. */
export function packSequences(sequences: readonly (readonly number[])[]): Parameters<typeof toDeviceBatch>[1] {
  const cuSeqlens = [0]
  for (const ids of sequences) cuSeqlens.push((cuSeqlens.at(-1) as number) + ids.length)
  return {
    inputIds: Int32Array.from(sequences.flat()),
    positions: Int32Array.from(sequences.flatMap((ids) => ids.map((_, index) => index))),
    cuSeqlens: Int32Array.from(cuSeqlens),
    labels: new Int32Array(cuSeqlens.at(-1) as number).fill(-100),
  }
}

async function logitsOf(model: CausalLM, sequences: readonly (readonly number[])[]): Promise<number[]> {
  const logits = scope(() => model.logits(model.hidden(toDeviceBatch(model.device, packSequences(sequences)))))
  const values = await logits.toArray()
  logits.release()
  return values
}

async function goldenLogits(on: Device, name: string): Promise<number[][]> {
  using file = readSafetensors(`${goldens}logits/${name}.safetensors`, on)
  return Promise.all([...file.tensors.keys()].toSorted().map((key) => (file.tensors.get(key) as Tensor).toArray()))
}

function distance(left: readonly number[], right: readonly number[]): number {
  expect(left.length).toBe(right.length)
  return left.reduce((worst, value, index) => Math.max(worst, Math.abs(value - (right[index] as number))), 0)
}

// The goldens' own float32 against float64 differs by 5e-6; 1e-4 leaves room for another order of summation.
const tolerance = 1e-4

describe.each(names)('%s equals transformers', (name) => {
  const on = device('cpu')
  const golden = read(name)
  const sequences = golden.sequences.map(({ inputIds }) => inputIds)
  let model: CausalLM
  let before = 0

  beforeAll(async () => {
    on.computeDType = 'float32'
    before = on.statistics().liveBytes
    model = await loadCausalLM(`${goldens}models/${name}`, { device: on })
  })

  afterAll(() => {
    model[Symbol.dispose]()
    expect(on.statistics().liveBytes).toBe(before)
  })

  it('in the logits of each sequence', async () => {
    const expected = await goldenLogits(on, name)
    for (const [index, ids] of sequences.entries()) {
      expect(distance(await logitsOf(model, [ids]), expected[index] as number[])).toBeLessThanOrEqual(tolerance)
    }
  })

  it('in the logits of all sequences packed into one row', async () => {
    const expected = (await goldenLogits(on, name)).flat()
    expect(distance(await logitsOf(model, sequences), expected)).toBeLessThanOrEqual(tolerance)
  })

  it('in greedy continuations, alone and as a batch', async () => {
    const expected = golden.sequences.map(({ greedy }) => greedy)
    expect(await Generator.generateAll(model, sequences, { maxNewTokens: 24 })).toEqual(expected)
    const last = sequences.at(-1) as number[]
    expect(await Generator.generateAll(model, [last], { maxNewTokens: 24 })).toEqual([expected.at(-1)])
  })

  it('in float64 on the oracle', async () => {
    const oracle = device('oracle')
    using exact = await loadCausalLM(`${goldens}models/${name}`, { device: oracle })
    const expected = await goldenLogits(on, name)
    // The golden itself is float32: its rounding is all that may differ.
    const found = await logitsOf(exact, [sequences[1] as number[]])
    expect(distance(found, expected[1] as number[])).toBeLessThanOrEqual(2e-5)
  })
})

it('computes in bfloat16 within its rounding', async () => {
  const on = device('cpu')
  using model = await loadCausalLM(`${goldens}models/qwen3`, { device: on })
  const ids = read('qwen3').sequences.map(({ inputIds }) => inputIds)
  on.computeDType = 'float32'
  const exact = await logitsOf(model, ids)
  on.computeDType = 'bfloat16'
  const rounded = await logitsOf(model, ids)
  on.computeDType = 'float32'
  const scale = Math.max(...exact.map(Math.abs))
  // Two roundings of 2⁻⁹ per product, about 15 products deep, random signs: √15 · 2⁻⁸ ≈ 1.5 % of the largest logit.
  expect(distance(exact, rounded)).toBeGreaterThan(0)
  expect(distance(exact, rounded)).toBeLessThanOrEqual(0.05 * scale)
})

describe.each(['cpu:portable', 'cpu'] as const)('activations stored in bfloat16 on %s', (name) => {
  const on = device(name)
  const ids = read('qwen3').sequences.map(({ inputIds }) => inputIds)
  const batch = packSequences(ids)
  batch.labels?.set(batch.inputIds.subarray(1))

  async function lossAndGradients(recompute: RecomputePolicy, stored: 'float32' | 'bfloat16') {
    const { computeDType } = on
    on.computeDType = 'bfloat16'
    on.activationDType = stored
    const before = on.statistics().liveBytes
    try {
      const result = await withModel(recompute)
      expect(on.statistics().liveBytes).toBe(before)
      return result
    } finally {
      on.computeDType = computeDType
      on.activationDType = undefined
    }
  }

  async function withModel(recompute: RecomputePolicy) {
    using model = await loadCausalLM(`${goldens}models/qwen3`, { device: on, trainable: true })
    using tape = new Tape({ recompute })
    const placed = toDeviceBatch(on, batch)
    try {
      const start = on.statistics()
      const lossSum = tape.record(() => model.loss(placed).lossSum.detachFromScope())
      const savedBytes = on.statistics().liveBytes - start.liveBytes
      tape.backward(lossSum)
      const [loss] = await lossSum.toArray()
      lossSum.release()
      const gradients = new Map<string, number[]>()
      for (const parameter of model.parameters()) {
        gradients.set(parameter.name, (await parameter.gradient?.toArray()) ?? [])
        parameter.clearGradient()
      }
      return { loss: loss as number, gradients, savedBytes }
    } finally {
      for (const tensor of Object.values(placed) as (Tensor | undefined)[]) tensor?.release()
    }
  }

  const norm = (values: readonly number[]): number => Math.hypot(...values)

  it('give the losses and gradients of float32 within their rounding, from fewer bytes', async () => {
    const exact = await lossAndGradients('none', 'float32')
    const stored = await lossAndGradients('none', 'bfloat16')
    expect(stored.savedBytes).toBeLessThan(0.75 * exact.savedBytes)
    expect(stored.loss).not.toBe(exact.loss)
    // Each of about ten tensors between loss and parameter is rounded once more, by up to 2⁻⁸ with random signs: √10 · 2⁻⁸
    // = 1.2 % of a gradient, on top of products whose operands are rounded likewise.
    expect(Math.abs(stored.loss - exact.loss)).toBeLessThan(0.005 * exact.loss)
    for (const [path, expected] of exact.gradients) {
      const found = stored.gradients.get(path) as number[]
      const apart = norm(found.map((value, index) => value - (expected[index] as number)))
      expect(norm(expected), path).toBeGreaterThan(0)
      expect(apart / norm(expected), path).toBeLessThan(0.05)
    }
  })

  it.each(['selective', 'full'] as const)(
    'are computed again to the same bits under recompute %s',
    async (recompute) => {
      const kept = await lossAndGradients('none', 'bfloat16')
      const again = await lossAndGradients(recompute, 'bfloat16')
      expect(again.loss).toBe(kept.loss)
      for (const [path, expected] of kept.gradients) expect(again.gradients.get(path), path).toEqual(expected)
    },
  )
})
