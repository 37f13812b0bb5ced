import type { CausalLM } from '@swift/models'
import { cast, keep, scope, withCategory, type Parameter, type Tensor } from '@swift/tensor'
import { SwiftError } from '@swift/spec'
import type { AttachedAdapters } from './attached-adapters.ts'
import type { ChosenQuantizer } from './resolve-quantizer.ts'

/** Whether merged weights keep the format they are stored in, or become dense float32. */
export type MergedFormat = 'stored' | 'dense'

interface Replaced {
  readonly parameter: Parameter
  readonly original: Tensor
  reattach(): void
}

/** Weights of a model replaced by merged ones; the originals are kept, so that restoring is exact. */
export class MergedWeights {
  readonly #replaced: readonly Replaced[]

  private constructor(replaced: readonly Replaced[]) {
    this.#replaced = replaced
  }

  /**
   * Replaces the weight of every adapted layer, and with `dense` that of every quantized one.
   * @throws `ERR_ADAPTER_MERGE` when the adapter cannot be merged
   */
  static merge(
    model: CausalLM,
    adapters: AttachedAdapters | undefined,
    quantizer: ChosenQuantizer | undefined,
    format: MergedFormat,
  ): MergedWeights {
    if (adapters !== undefined && adapters.adapter.doMerge === undefined) {
      throw new SwiftError({
        code: 'ERR_ADAPTER_MERGE',
        asked: `Merging the adapter ${adapters.adapter.id}`,
        found: 'it cannot be folded into a weight',
        remedy: 'Save it with save() and load it beside the base model',
      })
    }
    const replaced: Replaced[] = []
    for (const layer of model.linears({ head: true })) {
      const attached = adapters?.layers.get(layer.path)
      const { value } = layer.weight
      if (attached === undefined && (format === 'stored' || value.quant === undefined)) continue
      const merged = withCategory('weights', () =>
        scope(() => {
          const dense = toDense(value, quantizer)
          const folded = attached === undefined ? dense : mergeInto(dense, attached, adapters as AttachedAdapters)
          return format === 'dense' ? folded : toStored(folded, value, quantizer)
        }),
      )
      const original = keep(value.alias())
      layer.weight.replace(keep(merged))
      layer.adapter = undefined
      replaced.push({
        parameter: layer.weight,
        original,
        reattach: () => {
          layer.adapter = attached
        },
      })
    }
    return new MergedWeights(replaced)
  }

  /** Puts the original weights and the adapter back. */
  restore(): void {
    for (const { parameter, original, reattach } of this.#replaced) {
      parameter.replace(original)
      reattach()
    }
  }
}

function mergeInto(
  dense: Tensor,
  attached: Parameters<NonNullable<AttachedAdapters['adapter']['doMerge']>>[1],
  adapters: AttachedAdapters,
): Tensor {
  const { adapter, options } = adapters
  return adapter.doMerge?.(dense, attached, options) ?? dense
}

function toDense(value: Tensor, quantizer: ChosenQuantizer | undefined): Tensor {
  if (value.quant !== undefined) return (quantizer as ChosenQuantizer).quantizer.doDequantize(value)
  return value.dtype === 'float32' ? value : cast(value, 'float32')
}

function toStored(folded: Tensor, original: Tensor, quantizer: ChosenQuantizer | undefined): Tensor {
  if (original.quant !== undefined) {
    const { quantizer: method, options } = quantizer as ChosenQuantizer
    return method.doQuantize(folded, options)
  }
  return original.dtype === 'float32' ? folded : cast(folded, original.dtype)
}
