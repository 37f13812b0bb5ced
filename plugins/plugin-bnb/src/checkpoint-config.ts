import { SwiftError } from '@swift/spec'
import type { BnbOptions } from './options.ts'

/** Options in a `quantization_config`, when it is one of bitsandbytes in 4 bits. @throws `ERR_BNB_CONFIG` for 8 bits */
export function readBnbConfig(config: Readonly<Record<string, unknown>>): BnbOptions | undefined {
  if (config['quant_method'] !== 'bitsandbytes') return undefined
  if (config['load_in_4bit'] !== true) {
    throw new SwiftError({
      code: 'ERR_BNB_CONFIG',
      asked: 'Loading a bitsandbytes checkpoint',
      found: 'load_in_4bit is not set, so its weights are LLM.int8',
      remedy: 'Use a 4-bit checkpoint or the dense model',
    })
  }
  const skip = config['llm_int8_skip_modules']
  const compute = config['bnb_4bit_compute_dtype']
  return {
    bnb4bitQuantType: config['bnb_4bit_quant_type'] === 'nf4' ? 'nf4' : 'fp4',
    bnb4bitUseDoubleQuant: config['bnb_4bit_use_double_quant'] === true,
    blockSize: 64,
    bnb4bitComputeDtype: compute === 'bfloat16' || compute === 'float16' ? compute : 'float32',
    skipModules: Array.isArray(skip) ? skip.filter((entry) => typeof entry === 'string') : [],
  }
}

/**
 * The `quantization_config` that transformers and serving engines read. `llm_int8_threshold` is left out: Python wants it
 * with a decimal point, which JSON from JavaScript does not write, and refuses the checkpoint otherwise.
 */
export function writeBnbConfig(options: BnbOptions): Readonly<Record<string, unknown>> {
  return {
    _load_in_4bit: true,
    _load_in_8bit: false,
    bnb_4bit_compute_dtype: options.bnb4bitComputeDtype,
    bnb_4bit_quant_storage: 'uint8',
    bnb_4bit_quant_type: options.bnb4bitQuantType,
    bnb_4bit_use_double_quant: options.bnb4bitUseDoubleQuant,
    llm_int8_enable_fp32_cpu_offload: false,
    llm_int8_has_fp16_weight: false,
    llm_int8_skip_modules: options.skipModules.length > 0 ? options.skipModules : null,
    load_in_4bit: true,
    load_in_8bit: false,
    quant_method: 'bitsandbytes',
  }
}
