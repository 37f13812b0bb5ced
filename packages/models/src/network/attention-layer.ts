import {
  attention,
  attentionDecode,
  kvEnter,
  reshape,
  rmsNorm,
  rope,
  type KeyValueTensors,
  type Parameter,
  type Tensor,
} from '@swift/tensor'
import type { DecoderConfig } from '../config/decoder-config.ts'
import { Linear } from './linear.ts'

/** Where the tokens of a call stand. */
export interface Placement {
  /** [T], int32. */
  readonly positions: Tensor
  /** [n + 1], int32: packed sequences; absent with a cache. */
  readonly cuSeqlens?: Tensor
  /** Sequence of each token in the cache, [T], int32. */
  readonly slots?: Tensor
  /** Angle per position, [rotary / 2]. */
  readonly inverseFrequencies: Tensor
  /** Factor of cosine and sine. */
  readonly attentionScale: number
}

/** Projections and norms of one attention layer. */
export interface AttentionWeights {
  readonly query: Linear
  readonly key: Linear
  readonly value: Linear
  readonly output: Linear
  readonly queryNorm: Parameter | undefined
  readonly keyNorm: Parameter | undefined
}

/** Grouped-query attention with RoPE and, where the model has it, per-head norms of queries and keys. */
export class AttentionLayer {
  readonly weights: AttentionWeights
  readonly #config: DecoderConfig
  readonly #window: number

  constructor(weights: AttentionWeights, config: DecoderConfig, layer: number) {
    this.weights = weights
    this.#config = config
    this.#window = config.windows[layer] ?? 0
  }

  /** x [T, D] → [T, D]; with a cache, its entries of this layer are read and extended. */
  forward(x: Tensor, placement: Placement, cache?: KeyValueTensors): Tensor {
    const { heads, keyValueHeads, headExtent } = this.#config
    const { query, key, value, output } = this.weights
    const tokens = x.shape[0] ?? 0
    const [rawQ, rawK, rawV] = Linear.together(x, [query, key, value]) as [Tensor, Tensor, Tensor]
    const q = reshape(rawQ, [tokens, heads, headExtent])
    const k = reshape(rawK, [tokens, keyValueHeads, headExtent])
    const v = reshape(rawV, [tokens, keyValueHeads, headExtent])
    const mixed = cache === undefined ? this.#packed(q, k, v, placement) : this.#cached(q, k, v, placement, cache)
    return output.forward(reshape(mixed, [tokens, heads * headExtent]))
  }

  #turn(x: Tensor, norm: Parameter | undefined, placement: Placement): Tensor {
    const normed = norm === undefined ? x : rmsNorm(x, norm.value, { epsilon: this.#config.normEpsilon }).y
    const { positions, inverseFrequencies, attentionScale } = placement
    return rope(normed, positions, inverseFrequencies, { attentionScale })
  }

  #packed(q: Tensor, k: Tensor, v: Tensor, placement: Placement): Tensor {
    const { cuSeqlens } = placement
    if (cuSeqlens === undefined) throw new TypeError('attention without a cache needs cuSeqlens')
    const { queryNorm, keyNorm } = this.weights
    const turnedQ = this.#turn(q, queryNorm, placement)
    return attention(turnedQ, this.#turn(k, keyNorm, placement), v, cuSeqlens, { window: this.#window })
  }

  #cached(q: Tensor, k: Tensor, v: Tensor, placement: Placement, cache: KeyValueTensors): Tensor {
    const { slots, positions, inverseFrequencies, attentionScale } = placement
    if (slots === undefined) throw new TypeError('attention with a cache needs slots')
    const turned = kvEnter(cache, q, k, v, {
      slots,
      positions,
      inverseFrequencies,
      attentionScale,
      queryNorm: this.weights.queryNorm?.value,
      keyNorm: this.weights.keyNorm?.value,
      epsilon: this.#config.normEpsilon,
    })
    return attentionDecode(turned, cache, slots, positions, { window: this.#window })
  }
}
