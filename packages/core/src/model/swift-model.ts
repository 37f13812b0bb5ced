import { basename, resolve } from 'node:path'
import { loadCausalLM, loadChatTemplate, loadTokenizer, saveCausalLM, type CausalLM } from '@swift/models'
import { SwiftError, type ChatMessage, type ChatTemplate, type Tokenizer } from '@swift/spec'
import { device as openDevice, type Device } from '@swift/tensor'
import { writeFolderAtomically } from '../checkpoints/atomic-folder.ts'
import type { GenerationOptions } from '../options/generation-options.ts'
import { parseOptions } from '../options/parse-options.ts'
import { swiftModelOptions } from '../options/swift-model-table.ts'
import { pluginRegistry, type PluginRegistry } from '../plugins/plugin-registry.ts'
import type { Trainable } from '../training/trainable.ts'
import { AttachedAdapters } from './attached-adapters.ts'
import { readGenerationDefaults } from './generation-defaults.ts'
import { generateAll, generatePieces, type GenerateOptions, type TextModel } from './generate.ts'
import { Generation } from './generation.ts'
import { loadWeights } from './load-weights.ts'
import { MergedWeights } from './merged-weights.ts'
import { resolveQuantizer, type ChosenQuantizer } from './resolve-quantizer.ts'
import { resolveTuner, type Tuner } from './resolve-tuner.ts'
import type { SwiftModelOptions } from './swift-model-options.ts'

interface Parts {
  readonly folder: string
  readonly network: CausalLM
  readonly tuner: Tuner
  readonly quantizer: ChosenQuantizer | undefined
  readonly options: SwiftModelOptions
  readonly registry: PluginRegistry
}

/**
 * A language model with its tokenizer, chat template and, when asked for, an adapter.
 *
 * @example
 * using model = await SwiftModel.fromPretrained('models/qwen3', { config: { type: 'lora', r: 8 } })
 * console.log(await model.generate('What is a joule?'))
 */
export class SwiftModel implements TextModel, Disposable {
  /** Folder it was loaded from. */
  readonly folder: string
  /** The decoder. */
  readonly network: CausalLM
  /** What is trained, with its options. */
  readonly tuner: Tuner
  /** How it was loaded. */
  readonly options: SwiftModelOptions
  readonly #quantizer: ChosenQuantizer | undefined
  readonly #registry: PluginRegistry
  #adapters: AttachedAdapters | undefined
  #merged: MergedWeights | undefined
  #tokenizer: Tokenizer | undefined
  #template: ChatTemplate | undefined
  #generationDefaults: GenerationOptions = {}
  #isTraining = false

  private constructor({ folder, network, tuner, quantizer, options, registry }: Parts) {
    this.folder = folder
    this.network = network
    this.tuner = tuner
    this.options = options
    this.#quantizer = quantizer
    this.#registry = registry
    if (tuner.kind !== 'adapter') return
    this.#adapters = AttachedAdapters.attach(network, tuner.adapter, tuner.options, {
      seed: options.seed ?? 42,
      isTraining: () => this.#isTraining,
    })
  }

  /**
   * Loads a model from a folder (config.json, safetensors, tokenizer, chat template).
   *
   * Adapters and quantizers come from registered plugins; one that is not registered is looked for among the
   * installed packages by its name.
   * @param folder - local folder of the model
   * @throws `ERR_OPTION_UNKNOWN`, `ERR_OPTION_INVALID`, `ERR_ADAPTER_UNKNOWN`, `ERR_QUANTIZER_UNKNOWN`, and the coded
   *   errors of reading a checkpoint
   */
  static async fromPretrained(folder: string, options: SwiftModelOptions = {}): Promise<SwiftModel> {
    const { plugins: _plugins, onProgress: _onProgress, ...checked } = options
    parseOptions('SwiftModel.fromPretrained', swiftModelOptions, checked)
    const registry = pluginRegistry()
    if (options.plugins !== undefined) registry.register(...options.plugins)
    using _load = options.ledger?.phase('load')
    const tuner = await resolveTuner(registry, options.config, options.adapter)
    const quantizer = await resolveQuantizer(registry, resolve(folder), options, tuner)
    const model = await SwiftModel.#load(resolve(folder), { tuner, quantizer, options, registry })
    try {
      if (tuner.kind === 'adapter' && tuner.folder !== undefined) await model.#adapters?.load(tuner.folder)
      await model.#loadText()
      await model.device.flush()
    } catch (error) {
      model.dispose()
      throw error
    }
    return model
  }

  static async #load(folder: string, parts: Omit<Parts, 'folder' | 'network'>): Promise<SwiftModel> {
    const { tuner, quantizer, options, registry } = parts
    const target = openDevice(options.device ?? 'cpu')
    if (options.computeDtype !== undefined) target.computeDType = options.computeDtype
    const network = await loadCausalLM(folder, {
      device: target,
      dtype: options.dtype ?? 'auto',
      trainable: tuner.kind === 'full',
      quantizers: registry.quantizers(),
      ...(quantizer === undefined || quantizer.isStored ? {} : { quantizer }),
      ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
    })
    try {
      return new SwiftModel({ folder, network, ...parts })
    } catch (error) {
      network[Symbol.dispose]()
      throw error
    }
  }

  async #loadText(): Promise<void> {
    this.#tokenizer = await loadTokenizer(this.folder).catch((error: unknown) => {
      // A folder without a tokenizer still trains on token ids; whoever needs text is told then.
      if (SwiftError.isInstance(error, 'ERR_TOKENIZER_MISSING')) return undefined
      throw error
    })
    if (this.#tokenizer !== undefined) this.#template = await loadChatTemplate(this.folder)
    this.#generationDefaults = await readGenerationDefaults(this.folder)
  }

  /** The same model on the `meta` device: shapes and bytes without values, for plans. The caller disposes it. */
  async metaTwin(): Promise<SwiftModel> {
    const { tuner, options } = this
    const twin = {
      tuner,
      quantizer: this.#quantizer,
      options: { ...options, device: 'meta' as const },
      registry: this.#registry,
    }
    const model = await SwiftModel.#load(this.folder, twin)
    model.device.computeDType = this.device.computeDType
    model.device.activationDType = this.device.activationDType
    return model
  }

  /** Where it computes. */
  get device(): Device {
    return this.network.device
  }

  /** Last part of its folder. */
  get name(): string {
    return basename(this.folder)
  }

  /** The tokenizer. @throws `ERR_TOKENIZER_MISSING` for a folder without one */
  get tokenizer(): Tokenizer {
    if (this.#tokenizer !== undefined) return this.#tokenizer
    throw new SwiftError({
      code: 'ERR_TOKENIZER_MISSING',
      asked: `Text with the model ${this.folder}`,
      found: 'its folder has no tokenizer',
      remedy: 'Put tokenizer.json beside config.json',
    })
  }

  /** The chat template: the model's own, else chatml. */
  get chatTemplate(): ChatTemplate {
    void this.tokenizer
    return this.#template as ChatTemplate
  }

  /** Sampling that its `generation_config.json` recommends. */
  get generationDefaults(): GenerationOptions {
    return this.#generationDefaults
  }

  /** The attached adapter, if any. */
  get adapters(): AttachedAdapters | undefined {
    return this.#adapters
  }

  /** Whether the adapter is folded into the weights now. */
  get isMerged(): boolean {
    return this.#merged !== undefined
  }

  /** Whether dropout and other training-only behaviour apply. Trainers set it. */
  get isTraining(): boolean {
    return this.#isTraining
  }

  /** Whether dropout and other training-only behaviour apply. Trainers set it. */
  set isTraining(isTraining: boolean) {
    this.#isTraining = isTraining
  }

  /**
   * What a trainer updates: the adapter's parameters, or all weights for `full`.
   * @throws `ERR_NOTHING_TO_TRAIN`
   */
  trainables(): readonly Trainable[] {
    if (this.#adapters !== undefined && !this.isMerged) return this.#adapters.trainables()
    const all = this.network.parameters().filter(({ trainable }) => trainable)
    if (all.length > 0) return all.map((parameter) => ({ name: parameter.name, parameter, learningRateFactor: 1 }))
    throw new SwiftError({
      code: 'ERR_NOTHING_TO_TRAIN',
      asked: `Training the model ${this.folder}`,
      found: this.isMerged ? 'its adapter is merged' : 'it was loaded for inference: every weight is frozen',
      remedy: this.isMerged ? 'Call unmerge() first' : "Load it with config: { type: 'lora' }, 'qlora' or 'full'",
    })
  }

  /**
   * Generates text after a prompt (a string becomes one user message when the model has a chat template of its own,
   * else it is continued as it is) or a chat.
   * @returns await it for the text, or iterate over its pieces
   */
  generate(prompt: string | readonly ChatMessage[], options: GenerateOptions = {}): Generation {
    return new Generation(generatePieces(this, prompt, options))
  }

  /** Generates after many prompts at once; the answers in their order. */
  async generateBatch(
    prompts: readonly (string | readonly ChatMessage[])[],
    options: GenerateOptions = {},
  ): Promise<string[]> {
    return generateAll(this, prompts, options)
  }

  /**
   * Saves into a folder, all of it or nothing: the adapter in PEFT format when one is attached and not merged, else
   * the model with its tokenizer.
   * @throws `ERR_DISK_FULL`
   */
  async save(folder: string): Promise<void> {
    await writeFolderAtomically(resolve(folder), (target) => this.#write(target))
  }

  /** Writes what is trained into a folder that exists, in the precision it is trained in, for checkpoints. */
  async writeTrained(folder: string): Promise<void> {
    await this.#write(folder, 'float32')
  }

  async #write(folder: string, dtype?: 'float32'): Promise<void> {
    if (this.#adapters !== undefined && !this.isMerged) return this.#adapters.save(folder, this.folder)
    await saveCausalLM(this.network, folder, {
      tokenizerFolder: this.folder,
      ...(dtype === undefined ? {} : { dtype }),
      ...(this.#quantizer === undefined ? {} : { quantizer: this.#quantizer }),
    })
  }

  /** Reads back what {@link writeTrained} wrote, into this model. @throws `ERR_ADAPTER_TENSORS`, `ERR_CHECKPOINT_INVALID` */
  async loadTrained(folder: string): Promise<void> {
    if (this.#adapters !== undefined) await this.#adapters.load(folder)
    else await loadWeights(this.network, folder)
  }

  /** Folds the adapter into the weights, which keep their format; {@link unmerge} restores the very same bits. */
  merge(): void {
    if (this.#adapters === undefined || this.#merged !== undefined) return
    this.#merged = MergedWeights.merge(this.network, this.#adapters, this.#quantizer, 'stored')
  }

  /** Takes a merged adapter out again. */
  unmerge(): void {
    this.#merged?.restore()
    this.#merged = undefined
  }

  /**
   * Saves the model with its adapter folded in as a dense checkpoint that any reader of safetensors loads.
   * @param options - `dtype` of the weights; default: that of the checkpoint
   * @throws `ERR_DISK_FULL`
   */
  async exportMerged(
    folder: string,
    options: { readonly dtype?: 'float32' | 'bfloat16' | 'float16' } = {},
  ): Promise<void> {
    const wasMerged = this.isMerged
    this.unmerge()
    const merged = MergedWeights.merge(this.network, this.#adapters, this.#quantizer, 'dense')
    try {
      await writeFolderAtomically(resolve(folder), (target) =>
        saveCausalLM(this.network, target, { tokenizerFolder: this.folder, ...options }),
      )
    } finally {
      merged.restore()
      if (wasMerged) this.merge()
    }
  }

  /** Frees everything it holds. */
  dispose(): void {
    this.unmerge()
    this.#adapters?.detach()
    this.#adapters = undefined
    this.network[Symbol.dispose]()
  }

  /** As {@link dispose}, for `using`. */
  [Symbol.dispose](): void {
    this.dispose()
  }
}
