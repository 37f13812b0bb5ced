import type { Adapter } from '@swift/spec'
import type { Tensor } from '@swift/tensor'
import { attachLora } from './attach.ts'
import { mergeLora, unmergeLora } from './merge.ts'
import { loraOptionTable, type LoraOptions } from './options.ts'
import { readPeftConfig, writePeftConfig } from './peft-config.ts'
import { loadPeftTensors, peftTensors } from './peft-tensors.ts'

/**
 * LoRA (Hu et al. 2021, arXiv 2106.09685) with rank-stabilised scaling and LoRA+ learning rates: y = Wx + s·B·A·x, the
 * branch fused into the base product. Files are PEFT's, both ways.
 */
export const lora: Adapter<LoraOptions, Tensor> = {
  id: 'lora',
  options: loraOptionTable,
  capabilities: { mergeable: true, quantizedBase: true, peftFormat: true },
  doAttach: attachLora,
  doMerge: mergeLora,
  doUnmerge: unmergeLora,
  doSave: (attached, options, context) => ({
    config: writePeftConfig(options, [...attached.keys()], context),
    tensors: peftTensors(attached),
  }),
  doReadConfig: readPeftConfig,
  doLoad: loadPeftTensors,
  learningRateFactor: (parameter, options) => (parameter.name.endsWith('lora_B.weight') ? options.loraPlusRatio : 1),
}
