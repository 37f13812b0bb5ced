import { definePlugin, type Plugin } from '@swift/spec'
import { lora } from './lora.ts'

export { lora }
export { loraOptionTable, type LoraOptions } from './options.ts'

/** The plugin: `registerPlugin(plugin)`, or found by itself when installed. */
const plugin: Plugin = definePlugin({ specVersion: 'v1', id: 'lora', provides: { adapters: [lora] } })
export default plugin
