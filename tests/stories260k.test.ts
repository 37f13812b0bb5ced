import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { SwiftModel } from '@swift/core'
import { Generator, loadCausalLM, loadTokenizer, toDeviceBatch, type CausalLM } from '@swift/models'
import type { Tokenizer } from '@swift/spec'
import { describeCpu, device, scope, type DeviceName } from '@swift/tensor'
import { afterAll, describe, expect, it, type TestContext } from 'vitest'
import { convertLlama2c } from '../tools/llama2c/convert.ts'
import { sharedFile } from './shared-data.ts'

/** A model somebody else trained, with its published text and losses: every instruction set must reproduce them. */
const devices = describeCpu().available.map((isa): DeviceName => `cpu:${isa}`)
const folder = mkdtempSync(join(tmpdir(), 'swift-stories-'))
afterAll(() => rmSync(folder, { recursive: true }))

const text = (context: TestContext, ...parts: string[]): string => readFileSync(sharedFile(context, ...parts), 'utf8')

let conversion: Promise<unknown> | undefined
async function converted(context: TestContext): Promise<string> {
  const output = join(folder, 'stories260K')
  const paths = ['stories260K.bin', 'tok512.bin'].map((name) => sharedFile(context, 'models', 'stories260K', name))
  conversion ??= convertLlama2c({ model: paths[0] ?? '', tokenizer: paths[1] ?? '', output })
  await conversion
  return output
}

/** Mean negative log-likelihood in nats per token, each text by itself after BOS. */
async function meanLoss(
  model: CausalLM,
  tokenizer: Tokenizer,
  texts: readonly string[],
): Promise<{ mean: number; tokens: number }> {
  let sum = 0
  let tokens = 0
  for (const each of texts) {
    const { ids } = tokenizer.encode(each, { addSpecialTokens: true })
    const inputIds = ids.slice(0, -1)
    using total = scope(() => {
      const batch = {
        inputIds,
        positions: Int32Array.from(inputIds.keys()),
        cuSeqlens: Int32Array.from([0, inputIds.length]),
        labels: ids.slice(1),
      }
      return model.loss(toDeviceBatch(model.device, batch)).lossSum
    })
    sum += Number((await total.read())[0])
    tokens += inputIds.length
  }
  return { mean: sum / tokens, tokens }
}

describe.each(devices)('stories260K on %s', (name) => {
  it('writes the published ids greedily', async (context) => {
    using model = await loadCausalLM(await converted(context), { device: device(name) })
    const expected = text(context, 'models', 'stories260K', 'expected-greedy-ids.txt').trim().split(/\s+/).map(Number)
    const [ids = []] = await Generator.generateAll(model, [[1]], { maxNewTokens: 200 })
    expect([1, ...ids]).toEqual(expected)
  })

  it('has the losses of its float64 reference on two texts', async (context) => {
    const path = await converted(context)
    const tokenizer = await loadTokenizer(path)
    using model = await loadCausalLM(path, { device: device(name) })
    const paragraphs = text(context, 'datasets', 'tinystories-sample.txt').split(/\n+/).filter(Boolean)
    const stories = await meanLoss(model, tokenizer, paragraphs.slice(0, 100))
    expect(stories.tokens).toBe(9749)
    expect(Math.abs(stories.mean - 1.459423)).toBeLessThan(1e-4)
    const play = text(context, 'datasets', 'tinyshakespeare.txt')
    const windows = Array.from({ length: 40 }, (_, index) => play.slice(255 * index, 255 * (index + 1)))
    const shakespeare = await meanLoss(model, tokenizer, windows)
    expect(shakespeare.tokens).toBe(6244)
    expect(Math.abs(shakespeare.mean - 4.478793)).toBeLessThan(1e-4)
  })
})

describe('stories260K as a SwiftModel', () => {
  it('writes the published text after nothing but BOS, at once and in pieces', async (context) => {
    const expected = text(context, 'models', 'stories260K', 'expected-greedy-200.txt')
    using model = await SwiftModel.fromPretrained(await converted(context), { computeDtype: 'float32' })
    const options = { raw: true, temperature: 0, maxNewTokens: 200 }
    expect(await model.generate('', options)).toBe(expected)
    expect(await model.generateBatch([''], options)).toEqual([expected])
  })

  it('encodes and decodes what its vocabulary lacks by bytes', async (context) => {
    const tokenizer = await loadTokenizer(await converted(context))
    for (const sample of ['Once upon a time', '  two  spaces\n\tand a tab', 'Ärger 😀 漢字 \u0000', 'é’“']) {
      const { ids } = tokenizer.encode(sample)
      expect(tokenizer.decode(ids), JSON.stringify(sample)).toBe(sample)
    }
    expect([...tokenizer.encode('Once upon a time', { addSpecialTokens: true }).ids]).toEqual([1, 403, 407, 261, 378])
    expect([...tokenizer.encode('漢').ids].slice(-3)).toEqual([0xe6, 0xbc, 0xa2].map((byte) => byte + 3))
    expect([...tokenizer.encode('', { addSpecialTokens: true }).ids]).toEqual([1])
  })
})

it('refuses files that are not what they should be, and writes nothing', async (context) => {
  const model = sharedFile(context, 'models', 'stories260K', 'stories260K.bin')
  const tokenizer = sharedFile(context, 'models', 'stories260K', 'tok512.bin')
  const output = join(folder, 'refused')
  await expect(convertLlama2c({ model: tokenizer, tokenizer, output })).rejects.toThrow('no llama2.c model')
  await expect(convertLlama2c({ model, tokenizer: model, output })).rejects.toThrow('piece')
  expect(() => readFileSync(join(output, 'config.json'))).toThrow('ENOENT')
})
