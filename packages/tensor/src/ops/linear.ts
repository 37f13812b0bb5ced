import type { ComputeDType } from '@swift/spec'
import { defineOp } from '../define-op.ts'
import type { Tensor } from '../tensor.ts'

/** Low-rank branch fused into {@link linear}: y += scale · dropout(x)·aᵀ·bᵀ. */
export interface LinearBranch {
  /** A, [R, K]. */
  readonly a: Tensor
  /** B, [N, R]. */
  readonly b: Tensor
  /** Factor of the branch. */
  readonly scale: number
  /** Dropout probability of the branch's input; default 0. */
  readonly dropout?: number
  /** Key of the dropout mask (see `RandomStream.next`). */
  readonly seed?: number
}

/** Options of {@link linear}. */
export interface LinearOptions {
  /** Bias [N]. */
  readonly bias?: Tensor | undefined
  /** Low-rank branch, computed in the same product. */
  readonly branch?: LinearBranch | undefined
  /** What y is stored in, rounded to nearest from its float32 sums. Default `float32`. */
  readonly output?: ComputeDType | undefined
}

interface Attributes extends Readonly<Record<string, number | boolean>> {
  readonly scale: number
  readonly dropout: number
  readonly seed: number
  readonly bfloat16: boolean
}

/** What the results are stored in. */
interface Stored {
  readonly attributes: Attributes
  /** Of y. */
  readonly output: boolean
  /** Of dx: the dtype of x. */
  readonly gradient: boolean
}

type Inputs = readonly [Tensor, Tensor, Tensor | undefined, Tensor | undefined, Tensor | undefined]

const x = 0
const weight = 1
const bias = 2
const loraA = 3
const loraB = 4
const projected = 5

const linearOp = defineOp<Inputs, Stored>({
  name: 'linear',
  forward: (inputs, { attributes, output }, context) => {
    const device = inputs[x].device
    const named = {
      x: inputs[x],
      weight: inputs[weight],
      bias: inputs[bias],
      loraA: inputs[loraA],
      loraB: inputs[loraB],
    }
    const [y, xa] = device.run('linear', named, { ...attributes, outputBfloat16: output }) as [Tensor, Tensor?]
    const needsX = context.needs(weight) || context.needs(loraA) || context.needs(loraB)
    context.save(needsX ? inputs[x] : undefined, inputs[weight], undefined, inputs[loraA], inputs[loraB], xa)
    xa?.release()
    return y
  },
  backward: (context, [dy], { attributes, gradient }) => {
    if (dy === undefined) return []
    const device = dy.device
    const a = context.savedOptional(loraA)
    const b = context.savedOptional(loraB)
    const needsBranch = context.needs(loraA) || context.needs(loraB)
    let dx: Tensor | undefined
    let u: Tensor | undefined
    if (context.needs(x)) {
      const inputs = { dy, weight: context.saved(weight), loraA: a, loraB: b }
      ;[dx, u] = device.run('linearInputGradient', inputs, { ...attributes, outputBfloat16: gradient })
    }
    let dA: Tensor | undefined
    let dB: Tensor | undefined
    if (needsBranch) {
      const inputs = { dy, x: context.saved(x), xa: context.saved(projected), loraA: a, loraB: b, u }
      ;[dA, dB] = device.run('linearLoraGradient', inputs, attributes)
    }
    const { bfloat16 } = attributes
    const dWeight = context.needs(weight)
      ? device.run('linearWeightGradient', { dy, x: context.saved(x) }, { bfloat16 })[0]
      : undefined
    const dBias = context.needs(bias) ? device.run('linearBiasGradient', { dy })[0] : undefined
    return [dx, dWeight, dBias, dA, dB]
  },
})

/**
 * y = x·Wᵀ + bias + scale·dropout(x)·Aᵀ·Bᵀ, with the low-rank branch as one more block of the same product.
 *
 * @param input - [..., K], float32 or bfloat16; its gradient has the same dtype
 * @param w - [N, K]; float32, bfloat16, float16, nf4 or fp4. A weight that requires no gradient costs no gradient work
 * @returns [..., N], float32 unless `output` says otherwise
 * @throws `ERR_SHAPE_MISMATCH`, `ERR_DTYPE_MISMATCH`
 */
export function linear(input: Tensor, w: Tensor, options: LinearOptions = {}): Tensor {
  const { branch } = options
  const attributes: Attributes = {
    scale: branch?.scale ?? 1,
    dropout: branch?.dropout ?? 0,
    seed: branch?.seed ?? 0,
    bfloat16: input.device.computeDType === 'bfloat16',
  }
  const stored = { attributes, output: options.output === 'bfloat16', gradient: input.dtype === 'bfloat16' }
  return linearOp([input, w, options.bias, branch?.a, branch?.b], stored)[0] as Tensor
}

/** One of the layers of {@link linearTogether}. */
export interface LinearWeights {
  /** [N, K]; float32, bfloat16, float16, nf4 or fp4. */
  readonly weight: Tensor
  /** [N]. */
  readonly bias?: Tensor | undefined
}

/**
 * y = x·Wᵀ + bias for two or three layers of the same x in one op: the same numbers as {@link linear} for each, without
 * waiting between them. Not differentiable.
 *
 * @param input - [..., K], float32 or bfloat16
 * @returns [..., N] of each layer, float32
 * @throws `ERR_SHAPE_MISMATCH`, `ERR_DTYPE_MISMATCH`
 */
export function linearTogether(
  input: Tensor,
  [first, second, third]: readonly [LinearWeights, LinearWeights, (LinearWeights | undefined)?],
): Tensor[] {
  const named = {
    x: input,
    weight0: first.weight,
    weight1: second.weight,
    weight2: third?.weight,
    bias0: first.bias,
    bias1: second.bias,
    bias2: third?.bias,
  }
  return input.device.run('linearTogether', named, { bfloat16: input.device.computeDType === 'bfloat16' })
}
