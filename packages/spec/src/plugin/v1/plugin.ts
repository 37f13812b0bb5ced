import type { Adapter } from '../../adapter/v1/index.ts'
import type { DatasetReader } from '../../dataset/v1/index.ts'
import type { CarbonProvider } from '../../energy/v1/index.ts'
import type { Optimizer } from '../../optimizer/v1/index.ts'
import type { Quantizer } from '../../quantizer/v1/index.ts'

/** What a plugin offers, by port. */
export interface PluginProvides {
  /** Fine-tuning methods. */
  // oxlint-disable-next-line typescript/no-explicit-any -- options and tensors are checked by each port's own schema
  readonly adapters?: readonly Adapter<any, any>[]
  /** Weight quantizers. */
  // oxlint-disable-next-line typescript/no-explicit-any -- as above
  readonly quantizers?: readonly Quantizer<any, any>[]
  /** Update rules. */
  // oxlint-disable-next-line typescript/no-explicit-any -- as above
  readonly optimizers?: readonly Optimizer<any, any>[]
  /** Dataset readers. */
  readonly datasetReaders?: readonly DatasetReader[]
  /** Carbon intensity sources. */
  readonly carbonProviders?: readonly CarbonProvider[]
}

/** Something a plugin needs from another plugin or from the runtime. */
export interface PluginRequirement {
  /** `adapter:lora`, `quantizer:bnb`, `device:cuda`, … */
  readonly capability: string
  /** What to do where it is missing, e.g. `npm i @swift/plugin-lora`. */
  readonly remedy: string
}

/** A plugin: what it offers and needs, as data. */
export interface Plugin {
  /** Version of the ports it was written against. */
  readonly specVersion: 'v1'
  /** Unique id, e.g. `lora`. */
  readonly id: string
  /** What it offers. */
  readonly provides: PluginProvides
  /** What it needs; checked at registration. */
  readonly requires?: readonly PluginRequirement[]
}
