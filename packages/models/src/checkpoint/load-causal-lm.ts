import { SwiftError, type Quantizer } from '@swift/spec'
import { cast, clone, scope, withCategory, zeros, type Device, type Tensor } from '@swift/tensor'
import type { CausalLM } from '../network/causal-lm.ts'
import { buildCausalLM } from './build-causal-lm.ts'
import { checkWeights } from './check-weights.ts'
import { openCheckpoint, type Checkpoint } from './read-checkpoint.ts'
import { expectedTensors, headPath } from './weight-plan.ts'

/** A quantizer with its options. */
// oxlint-disable-next-line typescript/no-explicit-any -- each quantizer's options follow its own table
export type AnyQuantizer = Quantizer<any, Tensor>

/** How {@link loadCausalLM} loads. */
export interface LoadOptions {
  /** Device that computes; `meta` reads shapes only. */
  readonly device: Device
  /** Storage of frozen dense weights. Default `auto`: as in the files, mapped without a copy. */
  readonly dtype?: 'auto' | 'float32' | 'bfloat16' | 'float16'
  /** Quantizes linear weights while loading, one layer at a time. */
  readonly quantizer?: { readonly quantizer: AnyQuantizer; readonly options: unknown }
  /** Quantizers whose checkpoints can be read. */
  readonly quantizers?: readonly AnyQuantizer[]
  /** Copies all weights to float32 memory of their own, to be trained. Default false. */
  readonly trainable?: boolean
  /** Progress in tensors. */
  readonly onProgress?: (progress: { readonly done: number; readonly total: number }) => void
}

interface Stored {
  readonly quantizer: AnyQuantizer
  readonly options: unknown
}

function findStored({ config, folder }: Checkpoint, quantizers: readonly AnyQuantizer[]): Stored | undefined {
  if (config.quantization === undefined) return undefined
  for (const quantizer of quantizers) {
    const options: unknown = quantizer.doReadConfig?.(config.quantization)
    if (options !== undefined) return { quantizer, options }
  }
  const method = String(config.quantization['quant_method'] ?? 'unknown')
  throw new SwiftError({
    code: 'ERR_QUANTIZER_UNKNOWN',
    asked: `The checkpoint ${folder}, quantized by ${method}`,
    found: `no registered quantizer reads it (registered: ${quantizers.map(({ id }) => id).join(', ') || 'none'})`,
    remedy:
      method === 'bitsandbytes'
        ? 'npm i @swift/plugin-bnb'
        : 'Use the dense checkpoint, or a plugin that reads this one',
    details: { method },
  })
}

function isLinearWeight(name: string): boolean {
  return name.endsWith('_proj.weight') || name === `${headPath}.weight`
}

function layerOf(name: string, shape: readonly number[]): { path: string; inFeatures: number; outFeatures: number } {
  return { path: name.slice(0, -'.weight'.length), inFeatures: shape[1] ?? 0, outFeatures: shape[0] ?? 0 }
}

class WeightLoader {
  readonly #checkpoint: Checkpoint
  readonly #options: LoadOptions
  readonly #stored: Stored | undefined
  readonly #imported = new Map<string, Tensor>()

  constructor(checkpoint: Checkpoint, options: LoadOptions, stored: Stored | undefined) {
    this.#checkpoint = checkpoint
    this.#options = options
    this.#stored = stored
  }

  /** Whether a weight is in the checkpoint in a weight format. */
  isStoredQuantized(name: string): boolean {
    const { weights } = this.#checkpoint
    return (
      this.#stored !== undefined &&
      isLinearWeight(name) &&
      weights.names().some((other) => other.startsWith(`${name}.`))
    )
  }

  /** Builds the weights that the checkpoint holds quantized; asynchronous, because their descriptions are tensors. */
  async importQuantized(shapes: ReadonlyMap<string, readonly number[]>): Promise<void> {
    const { weights } = this.#checkpoint
    const { device } = this.#options
    for (const [name, shape] of shapes) {
      if (this.#stored === undefined || !this.isStoredQuantized(name)) continue
      const keys = weights.names().filter((other) => other === name || other.startsWith(`${name}.`))
      const parts = new Map(keys.map((key) => [key.slice(name.length), weights.tensor(key, device).detachFromScope()]))
      try {
        const { quantizer, options } = this.#stored
        const weight = await quantizer.doImport?.(parts, [shape[0] ?? 0, shape[1] ?? 0], options)
        if (weight === undefined) throw new TypeError(`${quantizer.id} claims to read checkpoints without doImport`)
        this.#imported.set(name, weight.detachFromScope())
      } finally {
        for (const part of parts.values()) part.release()
      }
    }
  }

  /** Weights of the same format and bytes for `meta`, which holds no values to read their descriptions from. */
  importShapes(shapes: ReadonlyMap<string, readonly number[]>): void {
    const { device } = this.#options
    for (const [name, shape] of shapes) {
      if (this.#stored === undefined || !this.isStoredQuantized(name)) continue
      const { quantizer, options } = this.#stored
      const weight = withCategory('weights', () => scope(() => quantizer.doQuantize(zeros(device, shape), options)))
      this.#imported.set(name, weight.detachFromScope())
    }
  }

  /** Frees imported weights that nobody took. */
  discard(): void {
    for (const tensor of this.#imported.values()) tensor.release()
    this.#imported.clear()
  }

  /** The weight of a name, in the format it shall have. */
  weight(name: string): Tensor {
    const imported = this.#imported.get(name)
    if (imported !== undefined) {
      this.#imported.delete(name)
      return imported
    }
    const { device, dtype = 'auto', trainable = false, quantizer } = this.#options
    return withCategory('weights', () =>
      scope(() => {
        const stored = this.#checkpoint.weights.tensor(name, device)
        if (trainable) return stored.dtype === 'float32' ? clone(stored) : cast(stored, 'float32')
        if (quantizer !== undefined && isLinearWeight(name)) {
          const method = quantizer.quantizer
          if (method.accepts(layerOf(name, stored.shape), quantizer.options))
            return method.doQuantize(stored, quantizer.options)
        }
        return dtype === 'auto' ? readable(stored) : cast(stored, dtype)
      }),
    )
  }
}

/** Kernels take float32, bfloat16 and float16 weights; a float64 checkpoint is narrowed. */
function readable(stored: Tensor): Tensor {
  return stored.dtype === 'float64' ? cast(stored, 'float32') : stored
}

/**
 * Loads a decoder from a folder. Frozen dense weights are used where they lie in the mapped file; with a quantizer one
 * dense layer at a time is in memory.
 * @throws `ERR_MODEL_MISSING`, `ERR_ARCHITECTURE_UNKNOWN`, `ERR_CONFIG_INVALID`, `ERR_WEIGHTS_MISSING`,
 *   `ERR_WEIGHTS_MISMATCH`, `ERR_QUANTIZER_UNKNOWN`, `ERR_SAFETENSORS_…`
 */
export async function loadCausalLM(folder: string, options: LoadOptions): Promise<CausalLM> {
  const checkpoint = openCheckpoint(folder)
  const { config } = checkpoint
  const stored = findStored(checkpoint, options.quantizers ?? [])
  const loader = new WeightLoader(checkpoint, options, stored)
  checkWeights(checkpoint, (name) => loader.isStoredQuantized(name))
  if (stored !== undefined && options.trainable === true) {
    throw new SwiftError({
      code: 'ERR_TRAIN_QUANTIZED',
      asked: `Training all weights of ${folder}`,
      found: 'its weights are quantized',
      remedy: 'Use the dense checkpoint, or train an adapter over it',
    })
  }
  const shapes = expectedTensors(config)
  const total = shapes.size
  let done = 0
  try {
    if (options.device.isMeta) loader.importShapes(shapes)
    else await loader.importQuantized(shapes)
    return buildCausalLM(
      config,
      options.device,
      (name) => {
        done += 1
        options.onProgress?.({ done, total })
        return loader.weight(name)
      },
      options.trainable,
    )
  } finally {
    loader.discard()
  }
}
