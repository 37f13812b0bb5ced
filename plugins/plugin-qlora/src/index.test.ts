import { bnb } from '@swift/plugin-bnb'
import { lora } from '@swift/plugin-lora'
import { expect, it } from 'vitest'
import plugin from './index.ts'

it('bundles the very adapter and quantizer of its parts', () => {
  expect(plugin.provides.adapters).toEqual([lora])
  expect(plugin.provides.quantizers).toEqual([bnb])
  expect(plugin.provides.adapters?.[0]).toBe(lora)
})
