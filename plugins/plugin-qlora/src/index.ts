import { definePlugin, type Plugin } from '@swift/spec'
import { bnb } from '@swift/plugin-bnb'
import { lora } from '@swift/plugin-lora'

export { bnb, bnbOptionTable, type BnbOptions } from '@swift/plugin-bnb'
export { lora, loraOptionTable, type LoraOptions } from '@swift/plugin-lora'

/** QLoRA: LoRA over 4-bit NF4 weights with double quantization (arXiv 2305.14314). A bundle of `lora` and `bnb`. */
const plugin: Plugin = definePlugin({
  specVersion: 'v1',
  id: 'qlora',
  provides: { adapters: [lora], quantizers: [bnb] },
})
export default plugin
