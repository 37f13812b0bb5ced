import { defineOp } from '../define-op.ts'
import type { Tensor } from '../tensor.ts'

/** Options of {@link rope}. */
export interface RopeOptions {
  /** Factor of cosine and sine (YaRN's attention factor). Default 1. */
  readonly attentionScale?: number
}

const ropeOp = defineOp<readonly [Tensor], { positions: Tensor; inverseFrequencies: Tensor; attentionScale: number }>({
  name: 'rope',
  forward: ([x], { positions, inverseFrequencies, attentionScale }, context) => {
    // Backward needs no x. A recipe of the rotated x is worth keeping where x itself is one, as behind a norm.
    context.save(positions, inverseFrequencies, context.keepsRecipe(x) ? x : undefined)
    return x.device.run('rope', { x, positions, inverseFrequencies }, { attentionScale })[0] as Tensor
  },
  backward: (context, [dy], { attentionScale }) => {
    if (dy === undefined) return []
    const inputs = { x: dy, positions: context.saved(0), inverseFrequencies: context.saved(1) }
    return [dy.device.run('rope', inputs, { attentionScale, inverse: true })[0]]
  },
  recompute: (context, { attentionScale }) => {
    const x = context.saved(2)
    const inputs = { x, positions: context.saved(0), inverseFrequencies: context.saved(1) }
    return x.device.run('rope', inputs, { attentionScale })[0] as Tensor
  },
  recomputeNeeds: 2,
})

/**
 * Rotary position embedding in the half-split layout (Su et al. 2021, arXiv 2104.09864).
 * @param x - [T, H, D], float32 or bfloat16, and so is the result
 * @param positions - [T], int32
 * @param inverseFrequencies - [rotary/2]; further elements of a head pass through
 */
export function rope(x: Tensor, positions: Tensor, inverseFrequencies: Tensor, options: RopeOptions = {}): Tensor {
  return ropeOp([x], { positions, inverseFrequencies, attentionScale: options.attentionScale ?? 1 })[0] as Tensor
}

/** Options of {@link attention}. */
export interface AttentionOptions {
  /** Factor of the scores. Default 1/√D. */
  readonly scale?: number
  /** Whether a query sees only keys up to its own position. Default true. */
  readonly causal?: boolean
  /** Keys a query sees, itself included; 0 sees all. Default 0. */
  readonly window?: number
  /** Scores become cap·tanh(score/cap); 0 leaves them. Default 0. */
  readonly softcap?: number
}

type AttentionAttributes = { scale: number; causal: boolean; window: number; softcap: number; bfloat16: boolean }

function attentionAttributes(q: Tensor, options: AttentionOptions): AttentionAttributes {
  return {
    scale: options.scale ?? 1 / Math.sqrt(q.shape[2] ?? 1),
    causal: options.causal ?? true,
    window: options.window ?? 0,
    softcap: options.softcap ?? 0,
    bfloat16: q.device.computeDType === 'bfloat16',
  }
}

const attentionOp = defineOp<readonly [Tensor, Tensor, Tensor], { cuSeqlens: Tensor; attributes: AttentionAttributes }>(
  {
    name: 'attention',
    forward: ([q, k, v], { cuSeqlens, attributes }, context) => {
      const outputBfloat16 = [q, k, v].every(({ dtype }) => dtype === 'bfloat16')
      const [o, lse] = q.device.run('attention', { q, k, v, cuSeqlens }, { ...attributes, outputBfloat16 }) as [
        Tensor,
        Tensor,
      ]
      context.save(q, k, v, o, lse, cuSeqlens)
      lse.release()
      return o
    },
    backward: (context, [dO], { attributes }) => {
      if (dO === undefined) return []
      const inputs = {
        dO,
        q: context.saved(0),
        k: context.saved(1),
        v: context.saved(2),
        o: context.saved(3),
        lse: context.saved(4),
        cuSeqlens: context.saved(5),
      }
      const outputBfloat16 = [inputs.q, inputs.k, inputs.v].every(({ dtype }) => dtype === 'bfloat16')
      return dO.device.run('attentionBackward', inputs, { ...attributes, outputBfloat16 })
    },
  },
)

/**
 * Softmax attention inside packed sequences, in O(T) memory (Dao 2023, arXiv 2307.08691); grouped-query when k and v
 * have fewer heads (Ainslie et al. 2023, arXiv 2305.13245).
 *
 * When the device computes in bfloat16, queries, keys, values, softmax weights and their gradients are rounded to
 * bfloat16 where they enter a product; scores, softmax and sums stay float32. A CPU without AVX-512-BF16 computes
 * attention in float32 all the same.
 *
 * @param q - [T, H, D], float32 or bfloat16
 * @param k - [T, KV, D]; KV divides H
 * @param v - [T, KV, D]
 * @param cuSeqlens - [n + 1], int32: start of each sequence and the end of the last
 * @returns [T, H, D], bfloat16 where q, k and v are; so are their gradients
 */
export function attention(q: Tensor, k: Tensor, v: Tensor, cuSeqlens: Tensor, options: AttentionOptions = {}): Tensor {
  const attributes = attentionAttributes(q, options)
  return attentionOp([q, k, v], { cuSeqlens, attributes })[0] as Tensor
}

/** Keys and values of a batch of sequences, [B, S, KV, D] each. */
export interface KeyValueTensors {
  readonly keys: Tensor
  readonly values: Tensor
}

/**
 * Writes keys and values into a cache, in place. Not differentiable.
 * @param k - [T, KV, D]
 * @param slots - [T], int32: sequence of each token
 * @param positions - [T], int32
 */
export function kvAppend(cache: KeyValueTensors, k: Tensor, v: Tensor, slots: Tensor, positions: Tensor): void {
  k.device.run('kvAppend', { cacheK: cache.keys, cacheV: cache.values, k, v, slots, positions })
}

/** Where new tokens go and how their heads are turned; see {@link kvEnter}. */
export interface EnterOptions extends RopeOptions {
  /** [T], int32: sequence of each token. */
  readonly slots: Tensor
  /** [T], int32. */
  readonly positions: Tensor
  /** [rotary/2]. */
  readonly inverseFrequencies: Tensor
  /** Weight of the norm of each head of queries, [D]; without it they are only rotated. */
  readonly queryNorm?: Tensor | undefined
  /** The same for keys. */
  readonly keyNorm?: Tensor | undefined
  /** Added to mean squares. Default 1e-6. */
  readonly epsilon?: number
}

/**
 * New tokens enter a cache: {@link rmsNorm} and {@link rope} of queries and keys, then {@link kvAppend}, as one op. Not
 * differentiable.
 * @param q - [T, H, D], float32
 * @param k - [T, KV, D]
 * @param v - [T, KV, D]
 * @returns the queries normed and rotated, [T, H, D]
 */
export function kvEnter(cache: KeyValueTensors, q: Tensor, k: Tensor, v: Tensor, options: EnterOptions): Tensor {
  const { slots, positions, inverseFrequencies, queryNorm, keyNorm, epsilon = 1e-6, attentionScale = 1 } = options
  const inputs = {
    q,
    k,
    v,
    cacheK: cache.keys,
    cacheV: cache.values,
    slots,
    positions,
    inverseFrequencies,
    qNorm: queryNorm,
    kNorm: keyNorm,
  }
  return q.device.run('kvEnter', inputs, { epsilon, attentionScale })[0] as Tensor
}

/**
 * Attention of queries to a cache: query t sees entries 0 … positions[t] of its sequence. Serves prefill and decode.
 * Not differentiable.
 * @param q - [T, H, D]
 */
export function attentionDecode(
  q: Tensor,
  cache: KeyValueTensors,
  slots: Tensor,
  positions: Tensor,
  options: Omit<AttentionOptions, 'causal'> = {},
): Tensor {
  const { scale, window, softcap } = attentionAttributes(q, options)
  const inputs = { q, cacheK: cache.keys, cacheV: cache.values, slots, positions }
  return q.device.run('attentionDecode', inputs, { scale, window, softcap })[0] as Tensor
}
