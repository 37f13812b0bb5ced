import { SwiftError, type Adapter, type DatasetReader, type Optimizer, type Plugin, type Quantizer } from '@swift/spec'
import type { Tensor } from '@swift/tensor'
import { adamwOptimizer } from '../optimizers/adamw.ts'
import { adamw8bitOptimizer } from '../optimizers/adamw-8bit.ts'
import { sgdOptimizer } from '../optimizers/sgd.ts'
import { discoverPlugin } from './discover-plugin.ts'

/** Kinds of provided things, as capabilities name them. */
export type CapabilityKind = 'adapter' | 'quantizer' | 'optimizer' | 'dataset-reader' | 'carbon-provider'

interface Provided {
  readonly kind: CapabilityKind
  readonly id: string
  readonly value: unknown
  readonly plugin: string
}

/** Ports this package knows. */
const specVersion = 'v1'
/** What the runtime itself provides, for `requires`. */
const runtimeCapabilities: readonly string[] = ['device:cpu', 'device:oracle', 'device:meta']

function entriesOf(plugin: Plugin): Provided[] {
  const { provides } = plugin
  const list = (kind: CapabilityKind, values: readonly { readonly id: string }[] | undefined): Provided[] =>
    (values ?? []).map((value) => ({ kind, id: value.id, value, plugin: plugin.id }))
  return [
    ...list('adapter', provides.adapters),
    ...list('quantizer', provides.quantizers),
    ...list('optimizer', provides.optimizers),
    ...list('dataset-reader', provides.datasetReaders),
    ...list('carbon-provider', provides.carbonProviders),
  ]
}

/** Plugins by id and what they provide. One registry serves a process; tests make their own. */
export class PluginRegistry {
  readonly #plugins = new Map<string, Plugin>()
  readonly #provided = new Map<string, Provided>()

  constructor() {
    for (const optimizer of [adamwOptimizer, adamw8bitOptimizer, sgdOptimizer]) {
      this.#provided.set(`optimizer:${optimizer.id}`, {
        kind: 'optimizer',
        id: optimizer.id,
        value: optimizer,
        plugin: 'core',
      })
    }
  }

  /** The registered plugins, in order. */
  plugins(): readonly Plugin[] {
    return [...this.#plugins.values()]
  }

  /** Capabilities such as `adapter:lora`, ascending. */
  capabilities(): readonly string[] {
    return [...runtimeCapabilities, ...this.#provided.keys()].toSorted()
  }

  /**
   * Registers plugins given together, so that they may require each other. Registering the same object twice is
   * harmless. Nothing is registered when one is refused.
   * @throws `ERR_PLUGIN_SPEC_VERSION`, `ERR_PLUGIN_DUPLICATE`, `ERR_PLUGIN_REQUIREMENT`
   */
  register(...plugins: readonly Plugin[]): void {
    const fresh = plugins.filter((plugin) => this.#plugins.get(plugin.id) !== plugin)
    const offered = new Map<string, Provided>()
    for (const plugin of fresh) {
      if ((plugin.specVersion as string) !== specVersion) {
        throw new SwiftError({
          code: 'ERR_PLUGIN_SPEC_VERSION',
          asked: `The plugin ${plugin.id}`,
          found: `it is written against ports ${String(plugin.specVersion)}, and this version has ${specVersion}`,
          remedy: `Install a version of the plugin, or of @swift/core, in which both are the same`,
          details: { plugin: plugin.id },
        })
      }
      const known = this.#plugins.has(plugin.id) ? [`the plugin ${plugin.id}`] : []
      const taken = entriesOf(plugin).flatMap((entry) => {
        const key = `${entry.kind}:${entry.id}`
        const other = this.#provided.get(key) ?? offered.get(key)
        offered.set(key, entry)
        // A bundle offers the very objects of the plugins it combines.
        return other === undefined || other.value === entry.value ? [] : [`${key} of the plugin ${other.plugin}`]
      })
      const clash = [...known, ...taken][0]
      if (clash !== undefined) {
        throw new SwiftError({
          code: 'ERR_PLUGIN_DUPLICATE',
          asked: `The plugin ${plugin.id}`,
          found: `${clash} is registered already`,
          remedy: 'Register one of the two; ids are unique',
          details: { plugin: plugin.id },
        })
      }
    }
    this.#checkRequirements(fresh, offered)
    for (const plugin of fresh) {
      this.#plugins.set(plugin.id, plugin)
      for (const entry of entriesOf(plugin)) this.#provided.set(`${entry.kind}:${entry.id}`, entry)
    }
  }

  #checkRequirements(plugins: readonly Plugin[], offered: ReadonlyMap<string, Provided>): void {
    const available = new Set([...this.capabilities(), ...offered.keys()])
    for (const plugin of plugins) {
      const missing = plugin.requires?.find(({ capability }) => !available.has(capability))
      if (missing === undefined) continue
      throw new SwiftError({
        code: 'ERR_PLUGIN_REQUIREMENT',
        asked: `The plugin ${plugin.id}`,
        found: `it needs ${missing.capability}, which nothing registered provides`,
        remedy: missing.remedy,
        details: { plugin: plugin.id, capability: missing.capability },
      })
    }
  }

  /**
   * Imports a package or module and registers the plugins it exports.
   * @returns whether it was found
   */
  async load(name: string): Promise<boolean> {
    const found = await discoverPlugin(name)
    this.register(...found)
    return found.length > 0
  }

  /** The adapter of that id; looks for an installed plugin first. @throws `ERR_ADAPTER_UNKNOWN` */
  async adapter(id: string): Promise<Adapter<Record<string, unknown>, Tensor>> {
    return (await this.#find('adapter', id)) as Adapter<Record<string, unknown>, Tensor>
  }

  /** The quantizer of that id; looks for an installed plugin first. @throws `ERR_QUANTIZER_UNKNOWN` */
  async quantizer(id: string): Promise<Quantizer<Record<string, unknown>, Tensor>> {
    return (await this.#find('quantizer', id)) as Quantizer<Record<string, unknown>, Tensor>
  }

  /** The optimizer of that id; looks for an installed plugin first. @throws `ERR_OPTIMIZER_UNKNOWN` */
  async optimizer(id: string): Promise<Optimizer<Record<string, unknown>, Tensor>> {
    return (await this.#find('optimizer', id)) as Optimizer<Record<string, unknown>, Tensor>
  }

  /** Everything registered of one kind. */
  quantizers(): readonly Quantizer<Record<string, unknown>, Tensor>[] {
    return this.#all('quantizer') as readonly Quantizer<Record<string, unknown>, Tensor>[]
  }

  /** The registered dataset readers. */
  datasetReaders(): readonly DatasetReader[] {
    return this.#all('dataset-reader') as readonly DatasetReader[]
  }

  #all(kind: CapabilityKind): unknown[] {
    return [...this.#provided.values()].filter((entry) => entry.kind === kind).map((entry) => entry.value)
  }

  async #find(kind: 'adapter' | 'quantizer' | 'optimizer', id: string): Promise<unknown> {
    const key = `${kind}:${id}`
    const family = packageFor(id)
    for (const name of [family, ...(bundles[key] ?? [])]) {
      const known = this.#provided.get(key)
      if (known !== undefined) return known.value
      await this.load(name)
    }
    const known = this.#provided.get(key)
    if (known !== undefined) return known.value
    const names = this.capabilities().filter((capability) => capability.startsWith(`${kind}:`))
    throw new SwiftError({
      code: `ERR_${kind.toUpperCase()}_UNKNOWN` as `ERR_${string}`,
      asked: `The ${kind} ${id}`,
      found: `${names.length === 0 ? `no ${kind}` : names.join(', ')} is registered, and ${family} is not installed`,
      remedy: `npm i ${family}`,
      details: { kind, id },
    })
  }
}

/** Bundles that contain a capability, where only the bundle may be visible to an import. */
const bundles: Readonly<Record<string, readonly string[]>> = {
  'adapter:lora': ['@swift/plugin-qlora'],
  'quantizer:bnb': ['@swift/plugin-qlora'],
}

/** `galore_adamw` is of `@swift/plugin-galore`; `lora` of `@swift/plugin-lora`. */
function packageFor(id: string): string {
  return `@swift/plugin-${id.replace(/_?adamw.*$/, '').replaceAll('_', '-') || id}`
}

const shared = new PluginRegistry()

/** The registry of this process. */
export function pluginRegistry(): PluginRegistry {
  return shared
}

/**
 * Registers plugins for this process.
 * @throws `ERR_PLUGIN_SPEC_VERSION`, `ERR_PLUGIN_DUPLICATE`, `ERR_PLUGIN_REQUIREMENT`
 */
export function registerPlugin(...plugins: readonly Plugin[]): void {
  shared.register(...plugins)
}
