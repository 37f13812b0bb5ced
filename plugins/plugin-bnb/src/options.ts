import type { OptionTable } from '@swift/spec'

/** Options of bitsandbytes 4-bit weights, named as in transformers' `BitsAndBytesConfig`, in camelCase. */
export interface BnbOptions {
  /** Codebook. */
  readonly bnb4bitQuantType: 'nf4' | 'fp4'
  /** Whether the absmax values are quantized too. */
  readonly bnb4bitUseDoubleQuant: boolean
  /** Weights that share one absmax. */
  readonly blockSize: number
  /** Dtype that readers of an exported checkpoint dequantize to. */
  readonly bnb4bitComputeDtype: 'float32' | 'bfloat16' | 'float16'
  /** Layers left dense, by last parts of their path. The head always is. */
  readonly skipModules: readonly string[]
}

/** The option table of the quantizer. */
export const bnbOptionTable: OptionTable = {
  bnb4bitQuantType: {
    type: 'string',
    description: 'Codebook of the 4-bit weights.',
    default: 'nf4',
    choices: ['nf4', 'fp4'],
  },
  bnb4bitUseDoubleQuant: {
    type: 'boolean',
    description: 'Quantize the scales too: 4.127 instead of 4.5 bits per weight (arXiv 2305.14314).',
    default: true,
  },
  blockSize: { type: 'integer', description: 'Weights that share one scale.', default: 64, minimum: 32, maximum: 4096 },
  bnb4bitComputeDtype: {
    type: 'string',
    description: 'Dtype that readers of an exported checkpoint compute in.',
    default: 'bfloat16',
    choices: ['float32', 'bfloat16', 'float16'],
  },
  skipModules: { type: 'string[]', description: 'Layers left dense, by last parts of their path.', default: [] },
}

/** Whether the layer at `path` is quantized: all but the head and the skipped ones. */
export function acceptsLayer(path: string, options: BnbOptions): boolean {
  const skipped = ['lm_head', ...options.skipModules]
  return !skipped.some((name) => path === name || path.endsWith(`.${name}`) || path.includes(`${name}.`))
}
