import { SwiftError, type AdapterContext, type AttachedAdapter, type LinearLayer } from '@swift/spec'
import { Parameter, uniform, withCategory, zeros, type Tensor } from '@swift/tensor'
import { layerRank, type LoraOptions } from './options.ts'

/** LoRA on one layer. */
export interface AttachedLora extends AttachedAdapter<Tensor> {
  /** A, [R, K]. */
  readonly a: Parameter
  /** B, [N, R]. */
  readonly b: Parameter
  /** α/r, or α/√r. */
  readonly scale: number
}

/** Distinct draws for distinct layers: an odd multiplier keeps (seed, index) pairs apart. */
function layerSeed(seed: number, index: number): number {
  return (seed * 1_000_003 + index * 7_919 + 1) % 2 ** 48
}

/**
 * Makes the branch of one layer: A uniform in ±1/√K (PEFT's `kaiming_uniform(a=√5)`), B zero, so that the first forward
 * is that of the base (Hu et al. 2021, arXiv 2106.09685).
 */
export function attachLora(layer: LinearLayer, options: LoraOptions, context: AdapterContext<Tensor>): AttachedLora {
  const { rank, scale } = layerRank(options, layer.path)
  const { device } = layer.weight.value as Tensor
  const bound = 1 / Math.sqrt(layer.inFeatures)
  const [a, b] = withCategory('adapter', () => [
    new Parameter(
      'lora_A.weight',
      uniform(device, [rank, layer.inFeatures], {
        seed: layerSeed(context.seed, context.index),
        low: -bound,
        high: bound,
      }),
      true,
    ),
    new Parameter('lora_B.weight', zeros(device, [layer.outFeatures, rank]), true),
  ]) as [Parameter, Parameter]
  return {
    a,
    b,
    scale,
    parameters: [a, b],
    forward: (x) => {
      const dropout = context.isTraining() ? options.loraDropout : 0
      return context.base(x, { a: a.value, b: b.value, scale, dropout })
    },
    dispose: () => {
      a[Symbol.dispose]()
      b[Symbol.dispose]()
    },
  }
}

/** Narrows an attached adapter to LoRA. @throws `ERR_ADAPTER_KIND` */
export function asLora(attached: AttachedAdapter<Tensor>): AttachedLora {
  if ('a' in attached && 'b' in attached) return attached as AttachedLora
  throw new SwiftError({
    code: 'ERR_ADAPTER_KIND',
    asked: 'A LoRA operation',
    found: `an adapter with the parameters ${attached.parameters.map(({ name }) => name).join(', ')}`,
    remedy: 'Use the adapter that attached it',
  })
}
