import { readFileSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { readSafetensors, toDeviceBatch } from '@swift/models'
import { device, scope } from '@swift/tensor'
import { goldens, packRows } from '../testing/golden-rows.ts'
import { SwiftModel } from './swift-model.ts'
import type { SwiftModelOptions } from './swift-model-options.ts'

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'swift-model-'))
})
afterAll(() => rm(root, { recursive: true }))

const base = join(goldens, 'models/qwen3')
const perturbed = join(goldens, 'peft/lora-all-linear/perturbed')
const exact: SwiftModelOptions = { computeDtype: 'float32' }

async function logits(model: SwiftModel, inputIds: readonly number[]): Promise<number[]> {
  const batch = packRows([{ inputIds, labels: inputIds }])
  const result = scope(() => model.network.logits(model.network.hidden(toDeviceBatch(model.device, batch))))
  const values = await result.toArray()
  result.release()
  return values
}

function largestDifference(left: readonly number[], right: readonly number[]): number {
  expect(left.length).toBe(right.length)
  return left.reduce((largest, value, index) => Math.max(largest, Math.abs(value - (right[index] ?? Number.NaN))), 0)
}

interface Probes {
  readonly probes: { readonly inputIds: readonly (readonly number[])[] }
}

async function golden(name: string): Promise<{ ids: readonly number[]; adapter: number[]; merged: number[] }> {
  const { probes } = JSON.parse(await readFile(join(goldens, 'peft', name, 'golden.json'), 'utf8')) as Probes
  const file = readSafetensors(join(goldens, 'peft', name, 'logits.safetensors'), device('cpu'))
  try {
    const [adapter, merged] = await Promise.all(
      ['adapter.1', 'merged.1'].map(async (key) => (await file.tensors.get(key)?.toArray()) ?? []),
    )
    return { ids: probes.inputIds[1] ?? [], adapter: adapter ?? [], merged: merged ?? [] }
  } finally {
    file[Symbol.dispose]()
  }
}

/** Tensors of a safetensors file as they are stored, in the order of their names. */
function storedTensors(path: string): ReadonlyMap<string, { dtype: string; shape: readonly number[]; data: string }> {
  const bytes = readFileSync(path)
  const start = 8 + Number(bytes.readBigUInt64LE())
  const { __metadata__: _metadata, ...entries } = JSON.parse(bytes.toString('utf8', 8, start)) as Record<
    string,
    { readonly dtype: string; readonly shape: readonly number[]; readonly data_offsets: readonly [number, number] }
  >
  const names = Object.keys(entries).toSorted()
  return new Map(
    names.map((name) => {
      const { dtype, shape, data_offsets: offsets = [0, 0] } = entries[name] ?? { dtype: '', shape: [] }
      const data = bytes.subarray(start + offsets[0], start + offsets[1])
      // What describes a quantized weight is JSON, whose spaces do not count.
      const isText = name.includes('quant_state')
      return [name, { dtype, shape: isText ? [] : shape, data: isText ? canonical(data) : data.toString('base64') }]
    }),
  )
}

function canonical(data: Buffer): string {
  return JSON.stringify(Object.entries(JSON.parse(data.toString()) as object).toSorted())
}

describe('adapters', () => {
  it.each([
    ['lora-all-linear', 'qwen3'],
    ['lora-q-v', 'qwen2'],
    ['rslora', 'qwen3'],
    ['lora-patterns', 'qwen3'],
  ])('%s saved by PEFT gives its logits, also merged and unmerged', async (name, model) => {
    const { ids, adapter, merged } = await golden(name)
    using loaded = await SwiftModel.fromPretrained(join(goldens, 'models', model), {
      ...exact,
      adapter: join(goldens, 'peft', name, 'perturbed'),
    })
    const before = await logits(loaded, ids)
    expect(largestDifference(before, adapter)).toBeLessThan(1e-4)
    loaded.merge()
    expect(loaded.isMerged).toBe(true)
    expect(largestDifference(await logits(loaded, ids), merged)).toBeLessThan(1e-4)
    loaded.unmerge()
    expect(await logits(loaded, ids)).toEqual(before)
  })

  it('may change how they are trained when they are continued', async () => {
    const config = { type: 'lora', loraDropout: 0.2, r: 8 }
    using model = await SwiftModel.fromPretrained(base, { ...exact, adapter: perturbed, config })
    expect(model.adapters?.options).toMatchObject({ loraDropout: 0.2, r: 8, loraAlpha: 16 })
  })

  it('are saved as PEFT saves them and come back with the same bits', async () => {
    const folder = join(root, 'adapter')
    using model = await SwiftModel.fromPretrained(base, { ...exact, adapter: perturbed })
    await model.save(folder)
    expect((await readdir(folder)).toSorted()).toEqual(['adapter_config.json', 'adapter_model.safetensors'])
    expect(storedTensors(join(folder, 'adapter_model.safetensors'))).toEqual(
      storedTensors(join(perturbed, 'adapter_model.safetensors')),
    )
    const config = async (from: string): Promise<Record<string, unknown>> =>
      JSON.parse(await readFile(join(from, 'adapter_config.json'), 'utf8')) as Record<string, unknown>
    const { base_model_name_or_path: basePath, ...ours } = await config(folder)
    expect(basePath).toBe(base)
    expect(await config(perturbed)).toMatchObject(ours)
    for (const name of ['peft_type', 'task_type', 'r', 'lora_alpha', 'target_modules'])
      expect(ours).toHaveProperty(name)
    using again = await SwiftModel.fromPretrained(base, { ...exact, adapter: folder })
    const ids = [5, 9, 200, 31]
    expect(await logits(again, ids)).toEqual(await logits(model, ids))
  })

  it('export merged as a dense checkpoint, from a dense and from a 4-bit base', async () => {
    const ids = [5, 9, 200, 31, 8, 8]
    for (const loadIn4bit of [false, true]) {
      const folder = join(root, `merged-${loadIn4bit}`)
      using model = await SwiftModel.fromPretrained(base, { ...exact, adapter: perturbed, loadIn4bit })
      const before = await logits(model, ids)
      await model.exportMerged(folder, { dtype: 'float32' })
      expect(await logits(model, ids)).toEqual(before)
      using dense = await SwiftModel.fromPretrained(folder, exact)
      expect(dense.network.linears().every(({ weight }) => weight.value.dtype === 'float32')).toBe(true)
      expect(largestDifference(await logits(dense, ids), before)).toBeLessThan(1e-4)
    }
  })

  it('free everything they took', async () => {
    await device('cpu').flush()
    const before = device('cpu').leakReport()
    for (const options of [{ adapter: perturbed }, { config: { type: 'qlora', r: 4 } }, { config: { type: 'full' } }]) {
      const model = await SwiftModel.fromPretrained(base, { ...exact, ...options })
      model.merge()
      model.dispose()
    }
    expect(device('cpu').leakReport()).toEqual(before)
  })
})

describe('quantization', () => {
  it('loads in 4 bits, writes a bitsandbytes checkpoint and reads it back bit for bit', async () => {
    const folder = join(root, 'four-bit')
    const ids = [1, 2, 3, 4, 5]
    using model = await SwiftModel.fromPretrained(base, { ...exact, loadIn4bit: true })
    expect(model.network.linears().every(({ weight }) => weight.value.dtype === 'nf4')).toBe(true)
    await model.save(folder)
    using again = await SwiftModel.fromPretrained(folder, exact)
    expect(again.network.linears()[0]?.weight.value.dtype).toBe('nf4')
    expect(await logits(again, ids)).toEqual(await logits(model, ids))
  })

  it.each([
    ['nf4', true, 'qwen3-nf4-double'],
    ['fp4', false, 'qwen3-fp4'],
  ] as const)('writes %s, double %s, with the very bytes of bitsandbytes', async (type, isDouble, name) => {
    const folder = join(root, name)
    using model = await SwiftModel.fromPretrained(base, {
      ...exact,
      loadIn4bit: true,
      bnb4bitQuantType: type,
      bnb4bitUseDoubleQuant: isDouble,
    })
    await model.save(folder)
    const ours = storedTensors(join(folder, 'model.safetensors'))
    const theirs = storedTensors(join(goldens, 'bnb', name, 'model.safetensors'))
    expect([...ours.keys()]).toEqual([...theirs.keys()])
    for (const [key, tensor] of theirs) expect(ours.get(key), key).toEqual(tensor)
  })
})

function load(folder: string, options: object = {}): Promise<SwiftModel> {
  return SwiftModel.fromPretrained(folder, options)
}

describe('what is wrong is said', () => {
  it.each([
    ['a missing folder', () => load(join(root, 'nowhere')), 'ERR_MODEL_MISSING'],
    ['a misspelt option', () => load(base, { loadIn4Bit: true }), 'ERR_OPTION_UNKNOWN'],
    ['a wrong value', () => load(base, { dtype: 'int8' }), 'ERR_OPTION_INVALID'],
    ['a misspelt adapter option', () => load(base, { config: { type: 'lora', rank: 4 } }), 'ERR_OPTION_UNKNOWN'],
    ['an unknown adapter', () => load(base, { config: { type: 'vera' } }), 'ERR_ADAPTER_UNKNOWN'],
    [
      'targets that do not exist',
      () => load(base, { config: { type: 'lora', targetModules: ['c_attn'] } }),
      'ERR_ADAPTER_TARGETS',
    ],
    ['a missing adapter', () => load(base, { adapter: join(root, 'nowhere') }), 'ERR_ADAPTER_MISSING'],
    [
      'another rank for a saved adapter',
      () => load(base, { adapter: perturbed, config: { type: 'lora', r: 3 } }),
      'ERR_OPTION_INVALID',
    ],
    [
      'an adapter of another model',
      () => load(join(goldens, 'models/qwen2'), { adapter: perturbed }),
      'ERR_ADAPTER_TENSORS',
    ],
    ['training 4-bit weights', () => load(base, { config: { type: 'full' }, loadIn4bit: true }), 'ERR_OPTION_INVALID'],
  ])('%s', async (_name, body, code) => {
    const before = device('cpu').statistics().liveBytes
    await expect(body()).rejects.toMatchObject({ code })
    expect(device('cpu').statistics().liveBytes).toBe(before)
  })

  it('a folder without a tokenizer, when text is asked for', async () => {
    using model = await load(base)
    await expect(model.generate('hello')).rejects.toMatchObject({ code: 'ERR_TOKENIZER_MISSING' })
    expect(() => model.trainables()).toThrow(expect.objectContaining({ code: 'ERR_NOTHING_TO_TRAIN' }))
  })

  it('a broken adapter_config.json', async () => {
    await writeFile(join(root, 'adapter_config.json'), '{')
    await expect(load(base, { adapter: root })).rejects.toMatchObject({ code: 'ERR_ADAPTER_CONFIG' })
  })
})
