import type { Quantizer } from '@swift/spec'
import { dequantize, quantize4bit, type Tensor } from '@swift/tensor'
import { readBnbConfig, writeBnbConfig } from './checkpoint-config.ts'
import { exportWeight, importWeight, rememberSource } from './checkpoint-tensors.ts'
import { acceptsLayer, bnbOptionTable, type BnbOptions } from './options.ts'

/**
 * 4-bit weights of bitsandbytes (Dettmers et al. 2023, arXiv 2305.14314): NF4 or FP4 codes, one absmax per block,
 * optionally double-quantized. Quantizes while loading, reads and writes bitsandbytes checkpoints bit for bit.
 */
export const bnb: Quantizer<BnbOptions, Tensor> = {
  id: 'bnb',
  stage: 'load',
  formats: ['nf4', 'fp4'],
  options: bnbOptionTable,
  capabilities: { trainable: true, imports: true, exports: true },
  accepts: (layer, options) => acceptsLayer(layer.path, options),
  doQuantize: (weight, options) =>
    rememberSource(
      quantize4bit(weight, {
        dtype: options.bnb4bitQuantType,
        doubleQuant: options.bnb4bitUseDoubleQuant,
        block: options.blockSize,
      }),
      weight.dtype,
    ),
  doDequantize: (weight) => dequantize(weight),
  doReadConfig: readBnbConfig,
  doWriteConfig: writeBnbConfig,
  doImport: (tensors, shape) => importWeight(tensors, shape),
  doExport: exportWeight,
}
