import { expect, it } from 'vitest'
import { selectLayers } from './select-layers.ts'

const layers = [
  'model.layers.0.self_attn.q_proj',
  'model.layers.0.self_attn.v_proj',
  'model.layers.1.self_attn.q_proj',
  'model.layers.1.mlp.up_proj',
].map((path) => ({ path }))
const select = (...args: [string | string[], (string | string[])?]): string[] =>
  selectLayers(layers, args[0], args[1]).map(({ path }) => path.slice('model.layers.'.length))

it('reads names as PEFT does', () => {
  expect(select('all-linear')).toHaveLength(4)
  expect(select(['all-linear'])).toHaveLength(4)
  expect(select(['q_proj'])).toEqual(['0.self_attn.q_proj', '1.self_attn.q_proj'])
  expect(select(['self_attn.v_proj', 'model.layers.1.mlp.up_proj'])).toEqual(['0.self_attn.v_proj', '1.mlp.up_proj'])
  expect(select('.*1.*q_proj')).toEqual(['1.self_attn.q_proj'])
  expect(select('all-linear', ['q_proj'])).toEqual(['0.self_attn.v_proj', '1.mlp.up_proj'])
})

it('says which name is wrong and which there are', () => {
  expect(() => select(['q_proj', 'c_attn'])).toThrow(
    expect.objectContaining({ code: 'ERR_ADAPTER_TARGETS', message: expect.stringContaining('c_attn') }),
  )
  expect(() => select('q_proj')).toThrow(expect.objectContaining({ code: 'ERR_ADAPTER_TARGETS' }))
})
