import type { Tensor } from '../tensor.ts'

/** Options of {@link quantize4bit}. */
export interface Quantize4BitOptions {
  /** Codebook. Default `nf4`. */
  readonly dtype?: 'nf4' | 'fp4'
  /** Weights that share one absmax; a power of two from 32 to 4096. Default 64. */
  readonly block?: number
  /** Whether the absmax values are quantized to 8 bits in blocks of 256 (QLoRA, arXiv 2305.14314). Default true. */
  readonly doubleQuant?: boolean
}

/**
 * Block-wise 4-bit quantization of a dense weight, bit-equal to bitsandbytes.
 * @param weight - [N, K], any dense float dtype
 */
export function quantize4bit(weight: Tensor, options: Quantize4BitOptions = {}): Tensor {
  const attributes = {
    fp4: options.dtype === 'fp4',
    block: options.block ?? 64,
    nestedBlock: (options.doubleQuant ?? true) ? 256 : 0,
  }
  return weight.device.run('quantize4', { x: weight }, attributes)[0] as Tensor
}

/** Dense weight of a 4-bit one, float32 or (rounded from it) bfloat16. */
export function dequantize(weight: Tensor, dtype: 'float32' | 'bfloat16' = 'float32'): Tensor {
  return weight.device.run('dequantize4', { weight }, { bfloat16: dtype === 'bfloat16' })[0] as Tensor
}

/** The stored parts of a 4-bit weight. */
export interface Quant4Parts {
  /** Two codes per byte, even index in the high nibble; uint8 [⌈n/2⌉]. */
  readonly codes: Tensor
  /** float32 [blocks], or uint8 codes with double quantization. */
  readonly absmax: Tensor
  /** float32 [nested blocks]; double quantization only. */
  readonly nestedAbsmax?: Tensor | undefined
  /** Dynamic 8-bit map, float32 [256]; double quantization only. */
  readonly map?: Tensor | undefined
  /** Mean of the absmax values, float32 [1]; double quantization only. */
  readonly offset?: Tensor | undefined
}

/** Copies of the stored parts of a 4-bit weight. */
export function quant4Parts(weight: Tensor): Quant4Parts {
  const [codes, absmax, nestedAbsmax, map, offset] = weight.device.run('quant4Parts', { weight })
  return { codes: codes as Tensor, absmax: absmax as Tensor, nestedAbsmax, map, offset }
}

/** Options of {@link quant4FromParts}. */
export interface Quant4FromPartsOptions {
  readonly dtype: 'nf4' | 'fp4'
  /** Logical shape of the weight. */
  readonly shape: readonly number[]
  readonly block: number
  /** Absmax values per nested absmax; default 256. */
  readonly nestedBlock?: number
  /** Mean of the absmax values; double quantization only. */
  readonly offset?: number
}

/** A 4-bit weight from its stored parts; the inverse of {@link quant4Parts}. */
export function quant4FromParts(parts: Omit<Quant4Parts, 'offset'>, options: Quant4FromPartsOptions): Tensor {
  const { codes, absmax, nestedAbsmax, map } = parts
  const attributes = {
    fp4: options.dtype === 'fp4',
    block: options.block,
    nestedBlock: options.nestedBlock,
    offset: options.offset,
  }
  return codes.device.run(
    'quant4FromParts',
    { codes, absmax, nestedAbsmax, map },
    attributes,
    options.shape,
  )[0] as Tensor
}
