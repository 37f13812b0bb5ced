import { SwiftError, type Adapter } from '@swift/spec'
import type { Tensor } from '@swift/tensor'
import { parseOptions } from '../options/parse-options.ts'
import type { PluginRegistry } from '../plugins/plugin-registry.ts'
import { readAdapterConfig, type AdapterOptions } from './attached-adapters.ts'
import type { SwiftConfig } from './swift-model-options.ts'

/** What is trained, resolved. */
export type Tuner =
  | { readonly kind: 'none' }
  | { readonly kind: 'full' }
  | {
      readonly kind: 'adapter'
      readonly adapter: Adapter<AdapterOptions, Tensor>
      readonly options: AdapterOptions
      /** Folder whose tensors it starts from. */
      readonly folder: string | undefined
    }

/** Whether a configuration asks for 4-bit weights by its type. */
export function wantsFourBit(config: SwiftConfig | undefined): boolean {
  return config?.type === 'qlora'
}

/** `peft_type` of a file → adapter id. */
function adapterIdOf(config: Readonly<Record<string, unknown>>, folder: string): string {
  const { peft_type: type } = config
  if (typeof type === 'string' && type !== '') return type.toLowerCase()
  throw new SwiftError({
    code: 'ERR_ADAPTER_CONFIG',
    asked: `The adapter ${folder}`,
    found: 'its adapter_config.json has no peft_type',
    remedy: 'Name a folder that PEFT or this package wrote',
  })
}

/**
 * Finds the adapter of a configuration or of a saved folder and its validated options.
 * @throws `ERR_ADAPTER_UNKNOWN`, `ERR_ADAPTER_CONFIG`, `ERR_OPTION_UNKNOWN`, `ERR_OPTION_INVALID`
 */
export async function resolveTuner(
  registry: PluginRegistry,
  config: SwiftConfig | undefined,
  folder: string | undefined,
): Promise<Tuner> {
  if (config?.type === 'full') {
    if (folder === undefined) return { kind: 'full' }
    throw new SwiftError({
      code: 'ERR_OPTION_INVALID',
      asked: `Full fine-tuning with the adapter ${folder}`,
      found: 'the adapter would stay beside the weights it was made for',
      remedy: 'Merge it first with exportMerged(), then train the result',
    })
  }
  if (folder !== undefined) {
    const saved = await readAdapterConfig(folder)
    const adapter = await registry.adapter(adapterIdOf(saved, folder))
    return {
      kind: 'adapter',
      adapter,
      options: continuedOptions(adapter, adapter.doReadConfig(saved), config, folder),
      folder,
    }
  }
  if (config === undefined) return { kind: 'none' }
  const { type, ...given } = config
  const adapter = await registry.adapter(type === 'qlora' ? 'lora' : type)
  return { kind: 'adapter', adapter, options: adapterOptions(adapter, given), folder: undefined }
}

/** Options that say how an adapter is trained, not what it is: a run that continues one may change them. */
export const trainingOnlyOptions: ReadonlySet<string> = new Set(['loraDropout', 'loraPlusRatio'])

/** The options of a saved adapter, with what the configuration may change about them. */
function continuedOptions(
  adapter: Adapter<AdapterOptions, Tensor>,
  saved: AdapterOptions,
  config: SwiftConfig | undefined,
  folder: string,
): AdapterOptions {
  if (config === undefined) return saved
  const { type, ...given } = config
  const checked = adapterOptions(adapter, given)
  const conflicts = [
    ...(type === adapter.id || (type === 'qlora' && adapter.id === 'lora') ? [] : [`type ${type} over ${adapter.id}`]),
    ...Object.keys(given)
      .filter((name) => given[name] !== undefined && !trainingOnlyOptions.has(name))
      .filter((name) => JSON.stringify(checked[name]) !== JSON.stringify(saved[name]))
      .map((name) => `${name} ${JSON.stringify(checked[name])} over ${JSON.stringify(saved[name])}`),
  ]
  if (conflicts.length > 0) {
    throw new SwiftError({
      code: 'ERR_OPTION_INVALID',
      asked: `Continuing the adapter ${folder} with ${conflicts.join(', ')}`,
      found: 'what an adapter is, is fixed when it is made',
      remedy: 'Leave these options out, or start a new adapter',
    })
  }
  const changed = Object.keys(given).filter((name) => given[name] !== undefined && trainingOnlyOptions.has(name))
  return { ...saved, ...Object.fromEntries(changed.map((name) => [name, checked[name]])) }
}

/** Validates adapter options; one string for a list keeps its meaning of a pattern over whole paths. */
function adapterOptions(adapter: Adapter<AdapterOptions, Tensor>, given: AdapterOptions): AdapterOptions {
  const { targetModules } = given
  const isAll = Array.isArray(targetModules) && targetModules.length === 1 && targetModules[0] === 'all-linear'
  const normal = isAll ? { ...given, targetModules: 'all-linear' } : given
  const options = parseOptions(`The adapter ${adapter.id}`, adapter.options, normal)
  const patterns = Object.entries(normal).filter(
    ([name, value]) => typeof value === 'string' && adapter.options[name]?.type === 'string[]',
  )
  return { ...options, ...Object.fromEntries(patterns) }
}
