import type { DecoderConfig } from '../config/decoder-config.ts'

/** Path of the head. */
export const headPath = 'lm_head'

/** Shapes of all tensors of a dense checkpoint, by name, in its order. */
export function expectedTensors(config: DecoderConfig): ReadonlyMap<string, readonly number[]> {
  const { hiddenSize: D, intermediateSize: I, vocabularySize: V, heads, keyValueHeads, headExtent } = config
  const shapes = new Map<string, readonly number[]>([['model.embed_tokens.weight', [V, D]]])
  const linear = (path: string, N: number, K: number, bias: boolean): void => {
    shapes.set(`${path}.weight`, [N, K])
    if (bias) shapes.set(`${path}.bias`, [N])
  }
  for (let layer = 0; layer < config.layerCount; layer++) {
    const prefix = `model.layers.${layer}`
    shapes.set(`${prefix}.input_layernorm.weight`, [D])
    linear(`${prefix}.self_attn.q_proj`, heads * headExtent, D, config.queryKeyValueBias)
    linear(`${prefix}.self_attn.k_proj`, keyValueHeads * headExtent, D, config.queryKeyValueBias)
    linear(`${prefix}.self_attn.v_proj`, keyValueHeads * headExtent, D, config.queryKeyValueBias)
    linear(`${prefix}.self_attn.o_proj`, D, heads * headExtent, config.outputBias)
    if (config.queryKeyNorm) {
      shapes.set(`${prefix}.self_attn.q_norm.weight`, [headExtent])
      shapes.set(`${prefix}.self_attn.k_norm.weight`, [headExtent])
    }
    shapes.set(`${prefix}.post_attention_layernorm.weight`, [D])
    linear(`${prefix}.mlp.gate_proj`, I, D, config.mlpBias)
    linear(`${prefix}.mlp.up_proj`, I, D, config.mlpBias)
    linear(`${prefix}.mlp.down_proj`, D, I, config.mlpBias)
  }
  shapes.set('model.norm.weight', [D])
  if (!config.tiedHead) shapes.set(`${headPath}.weight`, [V, D])
  return shapes
}
