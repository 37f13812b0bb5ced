import { adapterConformance } from '@swift/testing'
import { describe, expect, it } from 'vitest'
import { lora } from './lora.ts'
import { layerRank, type LoraOptions } from './options.ts'

const options: LoraOptions = {
  r: 4,
  loraAlpha: 8,
  loraDropout: 0,
  targetModules: 'all-linear',
  useRslora: false,
  loraPlusRatio: 1,
  rankPattern: {},
  alphaPattern: {},
}

adapterConformance({ describe, it }, { adapter: lora, options })
adapterConformance({ describe, it }, { adapter: lora, options: { ...options, r: 3, useRslora: true } })

describe('LoRA options', () => {
  it('scales by α/r, or α/√r when rank-stabilised', () => {
    expect(layerRank(options, 'a.q_proj')).toEqual({ rank: 4, scale: 2 })
    expect(layerRank({ ...options, useRslora: true }, 'a.q_proj')).toEqual({ rank: 4, scale: 4 })
  })

  it('applies patterns to the end of a path, as PEFT does', () => {
    const patterned = { ...options, rankPattern: { 'layers.1.q_proj': 16 }, alphaPattern: { k_proj: 1 } }
    expect(layerRank(patterned, 'model.layers.1.q_proj')).toEqual({ rank: 16, scale: 0.5 })
    expect(layerRank(patterned, 'model.layers.11.q_proj').rank).toBe(4)
    expect(layerRank(patterned, 'model.layers.0.k_proj')).toEqual({ rank: 4, scale: 0.25 })
  })

  it('refuses a rank that is not a positive integer', () => {
    expect(() => layerRank({ ...options, rankPattern: { q_proj: 0 } }, 'q_proj')).toThrow(
      /ERR_LORA_RANK|positive integer/,
    )
  })

  it('raises the learning rate of B alone for LoRA+', () => {
    const plus = { ...options, loraPlusRatio: 16 }
    const factor = (name: string): number | undefined =>
      lora.learningRateFactor?.({ name, value: undefined as never, trainable: true }, plus)
    expect(factor('lora_B.weight')).toBe(16)
    expect(factor('lora_A.weight')).toBe(1)
  })
})

describe('LoRA files', () => {
  const config = { peft_type: 'LORA', r: 8, lora_alpha: 16, target_modules: ['q_proj', 'v_proj'] }

  it('reads the configuration PEFT writes', () => {
    expect(lora.doReadConfig({ ...config, use_rslora: true, lora_dropout: 0.1 })).toMatchObject({
      r: 8,
      loraAlpha: 16,
      loraDropout: 0.1,
      useRslora: true,
      targetModules: ['q_proj', 'v_proj'],
    })
  })

  it.each([
    [{ ...config, use_dora: true }, 'use_dora'],
    [{ ...config, modules_to_save: ['lm_head'] }, 'modules_to_save'],
    [{ ...config, bias: 'all' }, 'bias'],
    [{ ...config, peft_type: 'IA3' }, 'IA3'],
    [{ ...config, r: 'eight' }, 'r is'],
    [{ ...config, layers_to_transform: [1] }, 'layers_to_transform'],
  ])('refuses what it would read wrongly: %j', (broken, word) => {
    expect(() => lora.doReadConfig(broken)).toThrow(word)
  })
})
