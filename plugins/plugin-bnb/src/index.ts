import { definePlugin, type Plugin } from '@swift/spec'
import { bnb } from './bnb.ts'

export { bnb }
export { bnbOptionTable, type BnbOptions } from './options.ts'

/** The plugin: `registerPlugin(plugin)`, or found by itself when installed. */
const plugin: Plugin = definePlugin({ specVersion: 'v1', id: 'bnb', provides: { quantizers: [bnb] } })
export default plugin
