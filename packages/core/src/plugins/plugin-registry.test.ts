import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import type { Adapter, Plugin, SwiftError } from '@swift/spec'
import { PluginRegistry } from './plugin-registry.ts'

const folder = await mkdtemp(join(tmpdir(), 'swift-plugins-'))
afterAll(() => rm(folder, { recursive: true }))

const adapter = (id: string): Adapter => ({ id }) as unknown as Adapter
const plugin = (id: string, adapters: readonly Adapter[], more: object = {}): Plugin => ({
  specVersion: 'v1',
  id,
  provides: { adapters },
  ...more,
})

function code(body: () => void): string | undefined {
  try {
    body()
    return undefined
  } catch (error) {
    return (error as SwiftError).code
  }
}

describe('registration', () => {
  it('finds what a plugin provides', async () => {
    const registry = new PluginRegistry()
    const mine = adapter('mine')
    registry.register(plugin('p', [mine]))
    expect(await registry.adapter('mine')).toBe(mine)
    expect(registry.capabilities()).toContain('adapter:mine')
    expect((await registry.optimizer('adamw')).id).toBe('adamw')
  })

  it('refuses other versions of the ports', () => {
    expect(code(() => new PluginRegistry().register(plugin('p', [], { specVersion: 'v9' })))).toBe(
      'ERR_PLUGIN_SPEC_VERSION',
    )
  })

  it('refuses duplicates of ids and of capabilities, and takes the same object twice', () => {
    const registry = new PluginRegistry()
    const first = plugin('p', [adapter('a')])
    registry.register(first)
    registry.register(first)
    expect(code(() => registry.register(plugin('p', [])))).toBe('ERR_PLUGIN_DUPLICATE')
    expect(code(() => registry.register(plugin('q', [adapter('a')])))).toBe('ERR_PLUGIN_DUPLICATE')
    expect(code(() => registry.register(plugin('bundle', first.provides.adapters ?? [])))).toBeUndefined()
  })

  it('checks requirements, by the whole group, and registers nothing when one is missing', () => {
    const registry = new PluginRegistry()
    const needy = plugin('needy', [], {
      requires: [{ capability: 'adapter:base', remedy: 'npm i @swift/plugin-base' }],
    })
    const other = plugin('other', [adapter('x')])
    expect(code(() => registry.register(other, needy))).toBe('ERR_PLUGIN_REQUIREMENT')
    expect(registry.plugins()).toEqual([])
    expect(code(() => registry.register(needy, plugin('base', [adapter('base')])))).toBeUndefined()
    const device = plugin('d', [], { requires: [{ capability: 'device:cuda', remedy: 'use a machine with a GPU' }] })
    expect(code(() => registry.register(device))).toBe('ERR_PLUGIN_REQUIREMENT')
  })
})

describe('discovery', () => {
  it('imports an installed plugin by the type that is asked for', async () => {
    const registry = new PluginRegistry()
    expect((await registry.adapter('lora')).id).toBe('lora')
    expect((await registry.quantizer('bnb')).id).toBe('bnb')
  })

  it('names the package that would provide what is unknown', async () => {
    const registry = new PluginRegistry()
    await expect(registry.adapter('dora')).rejects.toMatchObject({
      code: 'ERR_ADAPTER_UNKNOWN',
      remedy: 'npm i @swift/plugin-dora',
    })
    await expect(registry.quantizer('gptq')).rejects.toMatchObject({ code: 'ERR_QUANTIZER_UNKNOWN' })
    await expect(registry.optimizer('galore_adamw')).rejects.toMatchObject({
      code: 'ERR_OPTIMIZER_UNKNOWN',
      remedy: 'npm i @swift/plugin-galore',
    })
  })

  it('loads a module by its path and says what is wrong with a broken one', async () => {
    const registry = new PluginRegistry()
    const good = join(folder, 'good.mjs')
    await writeFile(good, "export default { specVersion: 'v1', id: 'good', provides: { adapters: [{ id: 'filed' }] } }")
    expect(await registry.load(good)).toBe(true)
    expect((await registry.adapter('filed')).id).toBe('filed')
    const empty = join(folder, 'empty.mjs')
    await writeFile(empty, 'export const x = 1')
    await expect(registry.load(empty)).rejects.toMatchObject({ code: 'ERR_PLUGIN_LOAD' })
    const broken = join(folder, 'broken.mjs')
    await writeFile(broken, "import 'no-such-package-here'\nexport default {}")
    await expect(registry.load(broken)).rejects.toMatchObject({ code: 'ERR_PLUGIN_LOAD' })
  })
})
