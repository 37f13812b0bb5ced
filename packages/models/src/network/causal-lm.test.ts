import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { device, scope, type Device, type Tensor } from '@swift/tensor'
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
