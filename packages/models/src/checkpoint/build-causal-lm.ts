import { Parameter, withCategory, type Device, type Tensor } from '@swift/tensor'
import type { DecoderConfig } from '../config/decoder-config.ts'
import { ropeFrequencies } from '../config/rope-frequencies.ts'
import { AttentionLayer } from '../network/attention-layer.ts'
import { CausalLM } from '../network/causal-lm.ts'
import { DecoderLayer } from '../network/decoder-layer.ts'
import { Linear, type RunState } from '../network/linear.ts'
import { headPath } from './weight-plan.ts'

/** Gives the tensor of a name; asked once per name, in checkpoint order. */
export type WeightProvider = (name: string) => Tensor

/** Puts a decoder together from its weights. On an error, everything made so far is freed. */
export function buildCausalLM(
  config: DecoderConfig,
  device: Device,
  weights: WeightProvider,
  trainable = false,
): CausalLM {
  const made: Parameter[] = []
  const state: RunState = { random: undefined }
  const parameter = (name: string): Parameter => {
    const result = new Parameter(name, weights(name), trainable)
    made.push(result)
    return result
  }
  const linear = (path: string, bias: boolean, keepsDType: boolean): Linear => {
    const weight = parameter(`${path}.weight`)
    return new Linear(path, weight, bias ? parameter(`${path}.bias`) : undefined, state, { keepsDType })
  }
  const layer = (index: number): DecoderLayer => {
    const prefix = `model.layers.${index}`
    const norm = parameter(`${prefix}.input_layernorm.weight`)
    const attention = {
      query: linear(`${prefix}.self_attn.q_proj`, config.queryKeyValueBias, true),
      key: linear(`${prefix}.self_attn.k_proj`, config.queryKeyValueBias, true),
      value: linear(`${prefix}.self_attn.v_proj`, config.queryKeyValueBias, true),
      output: linear(`${prefix}.self_attn.o_proj`, config.outputBias, false),
      queryNorm: config.queryKeyNorm ? parameter(`${prefix}.self_attn.q_norm.weight`) : undefined,
      keyNorm: config.queryKeyNorm ? parameter(`${prefix}.self_attn.k_norm.weight`) : undefined,
    }
    const postNorm = parameter(`${prefix}.post_attention_layernorm.weight`)
    const mlp = {
      gate: linear(`${prefix}.mlp.gate_proj`, config.mlpBias, true),
      up: linear(`${prefix}.mlp.up_proj`, config.mlpBias, true),
      down: linear(`${prefix}.mlp.down_proj`, config.mlpBias, false),
    }
    return new DecoderLayer(norm, new AttentionLayer(attention, config, index), postNorm, mlp, config)
  }
  try {
    const embedding = parameter('model.embed_tokens.weight')
    const layers = Array.from({ length: config.layerCount }, (_, index) => layer(index))
    const finalNorm = parameter('model.norm.weight')
    const head = new Linear(headPath, config.tiedHead ? embedding : parameter(`${headPath}.weight`), undefined, state)
    const { inverseFrequencies, attentionScale } = ropeFrequencies(config.rope)
    const frequencies = withCategory('weights', () => device.tensor(inverseFrequencies).detachFromScope())
    return new CausalLM({
      config,
      device,
      state,
      embedding,
      layers,
      finalNorm,
      head,
      inverseFrequencies: frequencies,
      attentionScale,
    })
  } catch (error) {
    for (const each of made) each[Symbol.dispose]()
    throw error
  }
}
