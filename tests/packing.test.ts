import { fileURLToPath } from 'node:url'
import { createBatchPlan, TokenizedDataset, TokenStoreBuilder, type BatchPlan } from '@swift/data'
import { loadCausalLM, toDeviceBatch, type CausalLM } from '@swift/models'
import { clearGradient, describeCpu, device, gradientOf, scope, Tape, type DeviceName } from '@swift/tensor'
import { describe, expect, it } from 'vitest'

const devices = describeCpu().available.map((isa): DeviceName => `cpu:${isa}`)
const models = ['llama', 'mistral', 'qwen2', 'qwen3']

/** Rows of odd lengths, some of one trained token; ids from a formula. */
function dataset(vocabularySize: number): TokenizedDataset {
  const builder = new TokenStoreBuilder()
  const lengths = [3, 17, 1, 9, 31, 5, 12, 2, 23, 8]
  for (const [row, length] of lengths.entries()) {
    const ids = Int32Array.from({ length }, (_, index) => (row * 31 + index * index * 7 + index) % vocabularySize)
    const trained = Uint8Array.from({ length }, (_, index) => (index > 0 && (index + row) % 3 !== 0 ? 1 : 0))
    builder.push({ ids, trained, weights: undefined }, { fileIndex: 0, recordIndex: row, line: row + 1 })
  }
  return new TokenizedDataset(builder.finish(), ['rows'], 'rows')
}

interface Outcome {
  readonly loss: number
  readonly correct: number
  readonly gradients: ReadonlyMap<string, readonly number[]>
  readonly batches: number
}

/** Loss and gradients over every batch of a plan, summed. */
async function outcome(model: CausalLM, plan: BatchPlan): Promise<Outcome> {
  let loss = 0
  let correct = 0
  const { batchesPerEpoch: batches } = plan
  for (let batchIndex = 0; batchIndex < batches; batchIndex += 1) {
    const sums = scope(() => {
      using tape = new Tape()
      const { lossWeights: _weights, ...rows } = plan.batch({ epoch: 0, batchIndex })
      const batch = toDeviceBatch(model.device, rows)
      const made = tape.record(() => model.loss(batch))
      tape.backward(made.lossSum)
      return [made.lossSum, made.correct]
    })
    const [lossSum = [], right = []] = await Promise.all(sums.map((tensor) => tensor.toArray()))
    loss += lossSum[0] ?? Number.NaN
    correct += right[0] ?? Number.NaN
    for (const tensor of sums) tensor.release()
  }
  const gradients = new Map<string, readonly number[]>()
  for (const { name, value } of model.parameters()) {
    gradients.set(name, (await gradientOf(value)?.toArray()) ?? [])
    clearGradient(value)
  }
  return { loss, correct, gradients, batches }
}

/** ‖left − right‖ / ‖right‖ */
function relativeDistance(left: readonly number[], right: readonly number[]): number {
  expect(left.length).toBe(right.length)
  const difference = left.reduce((sum, value, index) => sum + (value - (right[index] ?? Number.NaN)) ** 2, 0)
  return Math.sqrt(difference / right.reduce((sum, value) => sum + value ** 2, 0))
}

describe.each(devices)('packed rows on %s', (name) => {
  it.each(models)('give the loss and the gradients of %s that they give one by one', async (architecture) => {
    const folder = fileURLToPath(new URL(`goldens/models/${architecture}`, import.meta.url))
    using model = await loadCausalLM(folder, { device: device(name), trainable: true })
    const data = dataset(model.config.vocabularySize)
    const common = { seed: 3, shuffle: true, batchSize: 1 }
    const packed = await outcome(model, createBatchPlan(data, { ...common, maxLength: 48, packing: true }))
    const single = await outcome(model, createBatchPlan(data, { ...common, maxLength: 48, packing: false }))
    expect(packed.batches).toBeLessThan(single.batches / 2)
    expect(single.batches).toBe(data.sequenceCount)
    expect(Math.abs(packed.loss - single.loss) / single.loss).toBeLessThan(1e-5)
    expect(packed.correct).toBe(single.correct)
    expect([...packed.gradients.keys()].length).toBeGreaterThan(15)
    for (const [parameter, gradient] of packed.gradients) {
      expect(relativeDistance(gradient, single.gradients.get(parameter) ?? []), parameter).toBeLessThan(1e-5)
    }
  })
})
