import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it, vi } from 'vitest'
import { writeTextModel } from '../testing/text-model.ts'
import type { SwiftModelOptions } from './swift-model-options.ts'
import { SwiftModel } from './swift-model.ts'

let folder = ''

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'swift-generate-'))
  await writeTextModel(folder)
})

afterAll(() => rmSync(folder, { recursive: true }))

/** Dtypes of the cache and of every pass, and the device's after the last. */
async function dtypesOf(
  options: SwiftModelOptions,
): Promise<{ cache: unknown; passes: unknown[]; unchanged: boolean }> {
  using model = await SwiftModel.fromPretrained(folder, options)
  const { network, device } = model
  const before = device.computeDType
  const passes: unknown[] = []
  const newCache = vi.spyOn(network, 'newCache')
  const decode = network.decode.bind(network)
  vi.spyOn(network, 'decode').mockImplementation((...given) => {
    passes.push(device.computeDType)
    return decode(...given)
  })
  await model.generate('capital of Aru?', { maxNewTokens: 2 })
  const cache = newCache.mock.calls[0]?.[0].dtype
  return { cache, passes: [...new Set(passes)], unchanged: device.computeDType === before }
}

it('computes in bfloat16, keys and values too, for weights in bfloat16', async () => {
  expect(await dtypesOf({ dtype: 'bfloat16' })).toEqual({ cache: 'bfloat16', passes: ['bfloat16'], unchanged: true })
})

it('computes in what was asked for at loading', async () => {
  const asked = { dtype: 'bfloat16', computeDtype: 'float32' } as const
  expect(await dtypesOf(asked)).toEqual({ cache: 'float32', passes: ['float32'], unchanged: true })
})

it('leaves the device as it is for other weights', async () => {
  const { cache, passes, unchanged } = await dtypesOf({ dtype: 'float32' })
  expect({ cache, unchanged, count: passes.length }).toEqual({ cache: 'float32', unchanged: true, count: 1 })
})
