import type { AttachedAdapter, LinearLayer, LowRankBranch } from '@swift/spec'
import {
  currentTape,
  linear,
  linearTogether,
  type LinearWeights,
  type Parameter,
  type RandomStream,
  type Tensor,
} from '@swift/tensor'

/** What the layers of one model share while it runs. */
export interface RunState {
  /** Numbers dropout masks; undefined outside training. */
  random: RandomStream | undefined
}

/** A linear layer of a model: weight in any format, optional bias, optional adapter. */
export class Linear implements LinearLayer {
  readonly path: string
  readonly weight: Parameter
  readonly bias: Parameter | undefined
  /** The adapter that computes this layer now, if any. */
  adapter: AttachedAdapter<Tensor> | undefined
  readonly #state: RunState
  readonly #keepsDType: boolean

  /**
   * @param keepsDType - whether the output is stored in the dtype of x, for layers whose output is rounded by whoever
   * reads it; float32 otherwise, as for what enters the residual stream
   */
  constructor(
    path: string,
    weight: Parameter,
    bias: Parameter | undefined,
    state: RunState,
    { keepsDType = false }: { readonly keepsDType?: boolean } = {},
  ) {
    this.path = path
    this.weight = weight
    this.bias = bias
    this.#state = state
    this.#keepsDType = keepsDType
  }

  /** K. */
  get inFeatures(): number {
    return this.weight.value.shape[1] ?? 0
  }

  /** N. */
  get outFeatures(): number {
    return this.weight.value.shape[0] ?? 0
  }

  /** Output of the layer, its adapter included: x [T, K] → [T, N]. */
  forward(x: Tensor): Tensor {
    return this.adapter === undefined ? this.base(x) : this.adapter.forward(x)
  }

  /** Outputs of several layers of the same x [T, K]: as {@link forward} of each, in one op where nothing is trained. */
  static together(x: Tensor, layers: readonly [Linear, Linear, Linear?]): Tensor[] {
    const [first, second, third] = layers
    const present = third === undefined ? [first, second] : [first, second, third]
    const isPlain = currentTape() === undefined && x.dtype === 'float32'
    if (!isPlain || present.some(({ adapter }) => adapter !== undefined))
      return present.map((layer) => layer.forward(x))
    return linearTogether(x, [first.#weights(), second.#weights(), third === undefined ? undefined : third.#weights()])
  }

  #weights(): LinearWeights {
    return { weight: this.weight.value, bias: this.bias?.value }
  }

  /** Output without the adapter, with a low-rank branch when one is given: x [T, K] → [T, N]. */
  base(x: Tensor, branch?: LowRankBranch<Tensor>): Tensor {
    const bias = this.bias?.value
    const output = this.#keepsDType && x.dtype === 'bfloat16' ? 'bfloat16' : 'float32'
    if (branch === undefined) return linear(x, this.weight.value, { bias, output })
    const dropout = this.#state.random === undefined ? 0 : (branch.dropout ?? 0)
    const seed = dropout > 0 ? (this.#state.random?.next() ?? 0) : 0
    const { a, b, scale } = branch
    return linear(x, this.weight.value, { bias, output, branch: { a, b, scale, dropout, seed } })
  }
}
