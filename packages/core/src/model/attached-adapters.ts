import { join } from 'node:path'
import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { readSafetensors, writeSafetensors, type CausalLM } from '@swift/models'
import { SwiftError, type Adapter, type AttachedAdapter } from '@swift/spec'
import type { Tensor } from '@swift/tensor'
import { selectLayers, type LayerPattern } from './select-layers.ts'
import type { Trainable } from '../training/trainable.ts'

/** Configuration of an adapter file. */
export const adapterConfigFile = 'adapter_config.json'
/** Tensors of an adapter file. */
export const adapterTensorsFile = 'adapter_model.safetensors'

/** Options of any adapter. */
export type AdapterOptions = Readonly<Record<string, unknown>>

/**
 * Reads `adapter_config.json`.
 * @throws `ERR_ADAPTER_MISSING`, `ERR_ADAPTER_CONFIG`
 */
export async function readAdapterConfig(folder: string): Promise<Readonly<Record<string, unknown>>> {
  const path = join(folder, adapterConfigFile)
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    throw new SwiftError({
      code: 'ERR_ADAPTER_MISSING',
      asked: `The adapter ${folder}`,
      found: `${path} cannot be read`,
      remedy: `Name a folder that holds ${adapterConfigFile} and ${adapterTensorsFile}`,
      cause,
    })
  }
  try {
    return JSON.parse(text) as Record<string, unknown>
  } catch (cause) {
    throw new SwiftError({
      code: 'ERR_ADAPTER_CONFIG',
      asked: `The adapter ${folder}`,
      found: `${path} is not JSON`,
      remedy: 'Save or download the adapter again',
      cause,
    })
  }
}

/** One adapter method attached to layers of a model. */
export class AttachedAdapters {
  /** The method. */
  readonly adapter: Adapter<AdapterOptions, Tensor>
  /** Its options. */
  readonly options: AdapterOptions
  /** Attached layers by path. */
  readonly layers: ReadonlyMap<string, AttachedAdapter<Tensor>>
  readonly #model: CausalLM

  private constructor(
    model: CausalLM,
    adapter: Adapter<AdapterOptions, Tensor>,
    options: AdapterOptions,
    layers: ReadonlyMap<string, AttachedAdapter<Tensor>>,
  ) {
    this.#model = model
    this.adapter = adapter
    this.options = options
    this.layers = layers
  }

  /**
   * Attaches an adapter to the linear layers its options name. The head has none: its logits are never stored.
   * @param isTraining - whether dropout applies now
   * @throws `ERR_ADAPTER_TARGETS`, `ERR_ADAPTER_BASE`, and the adapter's own
   */
  static attach(
    model: CausalLM,
    adapter: Adapter<AdapterOptions, Tensor>,
    options: AdapterOptions,
    { seed, isTraining }: { readonly seed: number; readonly isTraining: () => boolean },
  ): AttachedAdapters {
    const targets = (options['targetModules'] ?? 'all-linear') as LayerPattern
    const layers = selectLayers(model.linears(), targets, (options['excludeModules'] ?? []) as LayerPattern)
    const attached = new Map<string, AttachedAdapter<Tensor>>()
    for (const [index, layer] of layers.entries()) {
      if (layer.weight.value.quant !== undefined && !adapter.capabilities.quantizedBase) {
        throw new SwiftError({
          code: 'ERR_ADAPTER_BASE',
          asked: `The adapter ${adapter.id} on ${layer.path}`,
          found: `its weight is ${layer.weight.value.dtype}, and ${adapter.id} trains over dense weights only`,
          remedy: 'Load without loadIn4bit, or use an adapter that can',
        })
      }
      const made = adapter.doAttach(layer, options, {
        seed,
        index,
        isTraining,
        base: (x, branch) => layer.base(x, branch),
      })
      layer.adapter = made
      attached.set(layer.path, made)
    }
    return new AttachedAdapters(model, adapter, options, attached)
  }

  /** Its parameters with their learning-rate factors. */
  trainables(): readonly Trainable[] {
    return [...this.layers].flatMap(([path, { parameters }]) =>
      parameters.map((parameter) => ({
        name: `${path}.${parameter.name}`,
        parameter,
        learningRateFactor: this.adapter.learningRateFactor?.(parameter, this.options) ?? 1,
      })),
    )
  }

  /** Writes `adapter_config.json` and `adapter_model.safetensors` into a folder. */
  async save(folder: string, baseModel: string): Promise<void> {
    const { config, tensors } = this.adapter.doSave(this.layers, this.options, { baseModel, taskType: 'CAUSAL_LM' })
    await mkdir(folder, { recursive: true })
    await writeFile(join(folder, adapterConfigFile), `${JSON.stringify(config, null, 2)}\n`)
    await writeSafetensors(join(folder, adapterTensorsFile), tensors, { metadata: { format: 'pt' } })
  }

  /**
   * Replaces the parameters by those of a saved adapter.
   * @throws `ERR_ADAPTER_TENSORS`
   */
  async load(folder: string): Promise<void> {
    const config = await readAdapterConfig(folder)
    const file = await readSafetensors(join(folder, adapterTensorsFile), this.#model.device)
    try {
      this.adapter.doLoad({ config, tensors: file.tensors }, this.layers, this.options)
    } finally {
      file[Symbol.dispose]()
    }
  }

  /** Takes the adapter off and frees its parameters. */
  detach(): void {
    for (const layer of this.#model.linears()) {
      const attached = this.layers.get(layer.path)
      if (attached === undefined || layer.adapter !== attached) continue
      layer.adapter = undefined
      attached.dispose()
    }
  }
}
