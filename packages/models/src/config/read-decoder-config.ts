import { SwiftError } from '@swift/spec'
import { decoderArchitectures, type DecoderArchitecture } from './architectures.ts'
import type { DecoderConfig } from './decoder-config.ts'
import type { RopeConfig } from './rope-frequencies.ts'

type Json = Readonly<Record<string, unknown>>

function invalid(found: string, remedy: string): SwiftError {
  return new SwiftError({ code: 'ERR_CONFIG_INVALID', asked: 'Reading config.json', found, remedy })
}

function count(config: Json, name: string, fallback?: number): number {
  const value = config[name] ?? fallback
  if (typeof value === 'number' && Number.isSafeInteger(value) && value > 0) return value
  throw invalid(`${name} is ${JSON.stringify(value)}`, `Write a positive whole number for ${name}`)
}

/** More layers than any decoder has: a larger number is a damaged file, and would fill the memory with names. */
const mostLayers = 10_000

function positive(config: Json, name: string, fallback: number): number {
  const value = config[name] ?? fallback
  if (typeof value === 'number' && Number.isFinite(value) && value > 0) return value
  throw invalid(`${name} is ${JSON.stringify(value)}`, `Write a positive number for ${name}`)
}

function findArchitecture(config: Json): DecoderArchitecture {
  const named = Array.isArray(config['architectures']) ? (config['architectures'] as unknown[]) : []
  const found = decoderArchitectures.find(({ matches }) => matches.some((name) => named.includes(name)))
  if (found !== undefined) return found
  throw new SwiftError({
    code: 'ERR_ARCHITECTURE_UNKNOWN',
    asked: `A model of architecture ${named.length > 0 ? named.join(', ') : '(config.json names none)'}`,
    found: 'there is no such architecture here',
    remedy: `Known are ${decoderArchitectures.flatMap(({ matches }) => matches).join(', ')}`,
    details: { architectures: named },
  })
}

const ropeTypes = ['default', 'linear', 'dynamic', 'llama3', 'yarn'] as const

/** RoPE in either form: `rope_parameters` (transformers 5), or `rope_theta` with `rope_scaling` (before). */
function readRope(config: Json, headExtent: number, maxPositionEmbeddings: number): RopeConfig {
  const scaling = (config['rope_parameters'] ?? config['rope_scaling'] ?? {}) as Json
  const stated = scaling['rope_type'] ?? scaling['type'] ?? 'default'
  const type = ropeTypes.find((name) => name === stated)
  if (type === undefined) {
    throw new SwiftError({
      code: 'ERR_ROPE_UNKNOWN',
      asked: `RoPE of type ${JSON.stringify(stated)}`,
      found: 'there is no such type here',
      remedy: `Known are ${ropeTypes.join(', ')}`,
    })
  }
  const theta = positive(scaling, 'rope_theta', positive(config, 'rope_theta', 10_000))
  const partial = positive(scaling, 'partial_rotary_factor', positive(config, 'partial_rotary_factor', 1))
  return { type, theta, rotaryExtent: Math.floor(headExtent * partial), maxPositionEmbeddings, parameters: scaling }
}

function readWindows(config: Json, architecture: DecoderArchitecture, layers: number): readonly number[] {
  const window = config['sliding_window']
  const enabled = architecture.windowByDefault || config['use_sliding_window'] === true
  if (typeof window !== 'number' || window <= 0 || !enabled) return Array.from({ length: layers }, () => 0)
  const types = config['layer_types']
  if (Array.isArray(types))
    return Array.from({ length: layers }, (_, layer) => (types[layer] === 'sliding_attention' ? window : 0))
  const first = architecture.windowByDefault ? 0 : count(config, 'max_window_layers', layers + 1)
  return Array.from({ length: layers }, (_, layer) => (layer >= first ? window : 0))
}

function flag(rule: boolean | 'attention_bias' | 'mlp_bias', config: Json): boolean {
  return typeof rule === 'boolean' ? rule : config[rule] === true
}

/**
 * Reads a decoder's configuration, in the forms of transformers 4 and 5.
 * @throws `ERR_ARCHITECTURE_UNKNOWN`, `ERR_CONFIG_INVALID`, `ERR_ROPE_UNKNOWN`
 */
export function readDecoderConfig(config: Json): DecoderConfig {
  const architecture = findArchitecture(config)
  const activation = config['hidden_act'] ?? 'silu'
  if (activation !== 'silu')
    throw invalid(`hidden_act is ${JSON.stringify(activation)}`, 'Only silu belongs to this family')
  const hiddenSize = count(config, 'hidden_size')
  const heads = count(config, 'num_attention_heads')
  const keyValueHeads = count(config, 'num_key_value_heads', heads)
  if (heads % keyValueHeads !== 0) {
    throw invalid(
      `${heads} attention heads over ${keyValueHeads} key-value heads`,
      'The former must be a multiple of the latter',
    )
  }
  const headExtent = count(config, 'head_dim', Math.floor(hiddenSize / heads))
  if (headExtent % 2 !== 0) throw invalid(`a head of ${headExtent} values`, 'RoPE turns pairs: head_dim must be even')
  const layerCount = count(config, 'num_hidden_layers')
  if (layerCount > mostLayers) {
    throw invalid(`num_hidden_layers is ${layerCount}`, `Write a number of layers up to ${mostLayers}`)
  }
  const maxPositionEmbeddings = count(config, 'max_position_embeddings', 2048)
  const quantization = config['quantization_config']
  return {
    architecture: architecture.id,
    vocabularySize: count(config, 'vocab_size'),
    hiddenSize,
    intermediateSize: count(config, 'intermediate_size'),
    layerCount,
    heads,
    keyValueHeads,
    headExtent,
    normEpsilon: positive(config, 'rms_norm_eps', 1e-6),
    tiedHead: config['tie_word_embeddings'] === true,
    queryKeyValueBias: flag(architecture.queryKeyValueBias, config),
    outputBias: flag(architecture.outputBias, config),
    mlpBias: flag(architecture.mlpBias, config),
    queryKeyNorm: architecture.queryKeyNorm,
    windows: readWindows(config, architecture, layerCount),
    rope: readRope(config, headExtent, maxPositionEmbeddings),
    maxPositionEmbeddings,
    quantization: typeof quantization === 'object' && quantization !== null ? (quantization as Json) : undefined,
    source: config,
  }
}
