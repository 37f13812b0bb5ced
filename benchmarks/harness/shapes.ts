/** Extents of a Qwen3-shaped model. */
export interface Shape {
  readonly hidden: number
  readonly intermediate: number
  readonly layers: number
  readonly heads: number
  readonly keyValueHeads: number
  readonly headExtent: number
  readonly vocabulary: number
}

/** Shapes by name. */
export const shapes: Readonly<Record<'qwen3-0.6b' | 'tiny', Shape>> = {
  'qwen3-0.6b': {
    hidden: 1024,
    intermediate: 3072,
    layers: 28,
    heads: 16,
    keyValueHeads: 8,
    headExtent: 128,
    vocabulary: 151_936,
  },
  tiny: { hidden: 256, intermediate: 768, layers: 6, heads: 4, keyValueHeads: 2, headExtent: 64, vocabulary: 4096 },
}

/** Name of a shape. */
export type ShapeName = keyof typeof shapes

/** [N, K] of the linear layers of one decoder layer: query, key, value, output, gate, up, down. */
export function linearExtents(shape: Shape): readonly (readonly [n: number, k: number])[] {
  const { hidden, intermediate, heads, keyValueHeads, headExtent } = shape
  const queries = heads * headExtent
  const keys = keyValueHeads * headExtent
  return [
    [queries, hidden],
    [keys, hidden],
    [keys, hidden],
    [hidden, queries],
    [intermediate, hidden],
    [intermediate, hidden],
    [hidden, intermediate],
  ]
}

/** Weights of all linear layers but the head. */
export function linearWeights(shape: Shape): number {
  return shape.layers * linearExtents(shape).reduce((sum, [n, k]) => sum + n * k, 0)
}

/**
 * FLOPs of one token of LoRA training by formula, a multiply-add counting two: forward and input gradient of every
 * frozen weight and of the head (4 per weight), the low-rank branches with their gradients (6 per weight of A and B),
 * and causal attention over sequences of `length` (2 products forward, 5 backward, half of the square).
 */
export function loraFlopsPerToken(shape: Shape, length: number, rank: number): number {
  const { layers, heads, headExtent, hidden, vocabulary } = shape
  const branch = layers * linearExtents(shape).reduce((sum, [n, k]) => sum + rank * (n + k), 0)
  const attention = layers * 7 * length * heads * headExtent
  return 4 * (linearWeights(shape) + hidden * vocabulary) + 6 * branch + attention
}

/** Contents of the config.json of a shape, as transformers writes it. */
export function configOf(shape: Shape, maxLength = 40_960): Readonly<Record<string, unknown>> {
  return {
    architectures: ['Qwen3ForCausalLM'],
    model_type: 'qwen3',
    attention_bias: false,
    attention_dropout: 0,
    bos_token_id: 1,
    eos_token_id: 2,
    dtype: 'bfloat16',
    head_dim: shape.headExtent,
    hidden_act: 'silu',
    hidden_size: shape.hidden,
    initializer_range: 0.02,
    intermediate_size: shape.intermediate,
    max_position_embeddings: maxLength,
    max_window_layers: shape.layers,
    num_attention_heads: shape.heads,
    num_hidden_layers: shape.layers,
    num_key_value_heads: shape.keyValueHeads,
    pad_token_id: null,
    rms_norm_eps: 1e-6,
    rope_parameters: { rope_theta: 1_000_000, rope_type: 'default' },
    sliding_window: null,
    tie_word_embeddings: true,
    use_cache: true,
    use_sliding_window: false,
    vocab_size: shape.vocabulary,
  }
}
