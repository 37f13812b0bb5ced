import type { ComputeDType } from '@swift/spec'
import { defineOp } from '../define-op.ts'
import type { Tensor } from '../tensor.ts'

/** Options of {@link rmsNorm}. */
export interface RmsNormOptions {
  /** Added to the mean square. Default 1e-6. */
  readonly epsilon?: number
  /** Added to `x` before normalising; the sum is returned for the residual stream. */
  readonly residual?: Tensor | undefined
  /** What `y` is stored in, rounded to nearest. Default: the dtype of `x`. */
  readonly output?: ComputeDType | undefined
}

type RmsInputs = readonly [Tensor, Tensor, Tensor | undefined]

interface RmsAttributes extends Readonly<Record<string, number | boolean>> {
  readonly epsilon: number
  readonly outputBfloat16: boolean
}

const rmsNormOp = defineOp<RmsInputs, RmsAttributes>({
  name: 'rmsNorm',
  forward: ([x, weight, residual], attributes, context) => {
    const outputs = x.device.run('rmsNorm', { x, weight, residual }, attributes)
    const [y, inverseRms, sum] = outputs as [Tensor, Tensor, Tensor?]
    context.save(sum ?? x, weight, inverseRms)
    inverseRms.release()
    return sum === undefined ? y : [y, sum]
  },
  backward: (context, [dy, dSum]) => {
    const normalised = context.saved(0)
    if (dy === undefined) return [dSum, undefined, dSum]
    const inputs = { dy, x: normalised, weight: context.saved(1), inverseRms: context.saved(2), residualGradient: dSum }
    const attributes = { needWeight: context.needs(1), outputBfloat16: normalised.dtype === 'bfloat16' }
    const [dx, dWeight] = dy.device.run('rmsNormBackward', inputs, attributes)
    return [dx, dWeight, dx]
  },
  recompute: (context, attributes) => {
    const x = context.saved(0)
    const [y, inverseRms] = x.device.run('rmsNorm', { x, weight: context.saved(1) }, attributes)
    inverseRms?.release()
    return y as Tensor
  },
})

/**
 * Root-mean-square normalisation over the last dimension (Zhang & Sennrich 2019, arXiv 1910.07467), optionally of
 * x + residual: y = (x + residual) / rms · weight.
 *
 * @param x - [..., D], float32 or bfloat16
 * @param weight - [D], any float dtype
 * @returns `y`, and `sum` = x + residual in float32 (`x` itself without a residual)
 */
export function rmsNorm(x: Tensor, weight: Tensor, options: RmsNormOptions = {}): { y: Tensor; sum: Tensor } {
  const { epsilon = 1e-6, residual, output = x.dtype } = options
  const [y, sum] = rmsNormOp([x, weight, residual], { epsilon, outputBfloat16: output === 'bfloat16' })
  return { y: y as Tensor, sum: sum ?? x }
}

type LayerInputs = readonly [Tensor, Tensor, Tensor | undefined]

const layerNormOp = defineOp<LayerInputs, { readonly epsilon: number }>({
  name: 'layerNorm',
  forward: ([x, weight, bias], { epsilon }, context) => {
    const [y, mean, inverseStd] = x.device.run('layerNorm', { x, weight, bias }, { epsilon }) as [
      Tensor,
      Tensor,
      Tensor,
    ]
    context.save(x, weight, mean, inverseStd)
    mean.release()
    inverseStd.release()
    return y
  },
  backward: (context, [dy]) => {
    const inputs = {
      dy,
      x: context.saved(0),
      weight: context.saved(1),
      mean: context.saved(2),
      inverseStd: context.saved(3),
    }
    const needWeight = context.needs(1) || context.needs(2)
    const [dx, dWeight, dBias] = context.saved(0).device.run('layerNormBackward', inputs, { needWeight })
    return [dx, dWeight, dBias]
  },
})

/**
 * Layer normalisation over the last dimension (Ba et al. 2016, arXiv 1607.06450).
 * @param x - [..., D], float32
 * @param weight - [D]
 * @param bias - [D], optional
 */
export function layerNorm(x: Tensor, weight: Tensor, bias?: Tensor, epsilon = 1e-5): Tensor {
  return layerNormOp([x, weight, bias], { epsilon })[0] as Tensor
}
