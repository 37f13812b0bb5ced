import { quantizerConformance } from '@swift/testing'
import { device } from '@swift/tensor'
import { describe, expect, it } from 'vitest'
import { bnb } from './bnb.ts'
import type { BnbOptions } from './options.ts'

const options: BnbOptions = {
  bnb4bitQuantType: 'nf4',
  bnb4bitUseDoubleQuant: true,
  blockSize: 64,
  bnb4bitComputeDtype: 'float32',
  skipModules: [],
}

// bitsandbytes' own figures for N(0,1): NF4 0.0727, FP4 0.0963 at block 64, plus double quantization's 1 %.
for (const bnb4bitQuantType of ['nf4', 'fp4'] as const) {
  for (const bnb4bitUseDoubleQuant of [false, true]) {
    quantizerConformance(
      { describe: (name, body) => describe(`${bnb4bitQuantType} double=${bnb4bitUseDoubleQuant}: ${name}`, body), it },
      {
        quantizer: bnb,
        options: { ...options, bnb4bitQuantType, bnb4bitUseDoubleQuant },
        meanErrorBound: bnb4bitQuantType === 'nf4' ? 0.085 : 0.11,
      },
    )
  }
}

describe('bitsandbytes options', () => {
  it('leaves the head and skipped layers dense', () => {
    const accepts = (path: string, skipModules: string[] = []): boolean =>
      bnb.accepts({ path, inFeatures: 64, outFeatures: 64 }, { ...options, skipModules })
    expect(accepts('model.layers.0.mlp.up_proj')).toBe(true)
    expect(accepts('lm_head')).toBe(false)
    expect(accepts('model.layers.0.mlp.up_proj', ['up_proj'])).toBe(false)
  })

  it('writes a configuration whose numbers Python reads with the types it wants', () => {
    const written = bnb.doWriteConfig?.(options) ?? {}
    expect(written).toMatchObject({ quant_method: 'bitsandbytes', load_in_4bit: true, bnb_4bit_quant_type: 'nf4' })
    // A whole float such as 6.0 would be written as 6, an int in Python: transformers raises a TypeError.
    expect(Object.values(written).filter((value) => typeof value === 'number')).toEqual([])
    expect(bnb.doReadConfig?.(written)).toEqual(options)
  })

  it('refuses 8-bit checkpoints by name', () => {
    expect(() => bnb.doReadConfig?.({ quant_method: 'bitsandbytes', load_in_8bit: true })).toThrow(/LLM\.int8/)
  })

  it('refuses tensors that are not a weight', async () => {
    const on = device('cpu')
    const codes = on.tensor(new Uint8Array(32), [32, 1])
    await expect(bnb.doImport?.(new Map([['', codes]]), [1, 64], options)).rejects.toThrow(/quant_state/)
    codes.release()
  })
})
