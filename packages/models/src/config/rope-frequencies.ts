import { SwiftError } from '@swift/spec'

/** RoPE as a checkpoint states it. */
export interface RopeConfig {
  readonly type: 'default' | 'linear' | 'dynamic' | 'llama3' | 'yarn'
  /** θ, the base of the frequencies. */
  readonly theta: number
  /** Extents of a head that turn. */
  readonly rotaryExtent: number
  /** Longest position the model was made for. */
  readonly maxPositionEmbeddings: number
  /** Scaling parameters as in the file. */
  readonly parameters: Readonly<Record<string, unknown>>
}

/** What the kernels need. */
export interface RopeFrequencies {
  /** Angle per position, [rotary / 2]. */
  readonly inverseFrequencies: Float32Array
  /** Factor of cosine and sine. */
  readonly attentionScale: number
}

function parameter(config: RopeConfig, name: string, fallback?: number): number {
  const value = config.parameters[name]
  if (typeof value === 'number' && Number.isFinite(value)) return value
  if (fallback !== undefined) return fallback
  throw new SwiftError({
    code: 'ERR_CONFIG_INVALID',
    asked: `RoPE scaling of type ${config.type}`,
    found: `${name} is ${JSON.stringify(value)}`,
    remedy: `Write a number for ${name} in rope_parameters (rope_scaling in older files)`,
  })
}

function llama3(config: RopeConfig, inverse: readonly number[]): number[] {
  const factor = parameter(config, 'factor')
  const low = parameter(config, 'low_freq_factor')
  const high = parameter(config, 'high_freq_factor')
  const original = parameter(config, 'original_max_position_embeddings')
  return inverse.map((frequency) => {
    const wavelength = (2 * Math.PI) / frequency
    if (wavelength > original / low) return frequency / factor
    if (wavelength < original / high) return frequency
    const smooth = (original / wavelength - low) / (high - low)
    return ((1 - smooth) * frequency) / factor + smooth * frequency
  })
}

/** Peng et al. 2023, arXiv 2309.00071, with the rounding of transformers. */
function yarn(config: RopeConfig, inverse: readonly number[]): RopeFrequencies {
  const original = parameter(config, 'original_max_position_embeddings', config.maxPositionEmbeddings)
  const factor = parameter(config, 'factor', config.maxPositionEmbeddings / original)
  const { theta, rotaryExtent } = config
  const correction = (rotations: number): number =>
    (rotaryExtent * Math.log(original / (rotations * 2 * Math.PI))) / (2 * Math.log(theta))
  const truncate = config.parameters['truncate'] !== false
  const lowExact = correction(parameter(config, 'beta_fast', 32))
  const highExact = correction(parameter(config, 'beta_slow', 1))
  const low = Math.max(truncate ? Math.floor(lowExact) : lowExact, 0)
  const high = Math.min(truncate ? Math.ceil(highExact) : highExact, rotaryExtent - 1)
  const span = high === low ? 0.001 : high - low
  const frequencies = inverse.map((frequency, index) => {
    const ramp = Math.min(1, Math.max(0, (index - low) / span))
    return (frequency / factor) * ramp + frequency * (1 - ramp)
  })
  return { inverseFrequencies: Float32Array.from(frequencies), attentionScale: yarnScale(config, factor) }
}

function yarnScale(config: RopeConfig, factor: number): number {
  const stated = config.parameters['attention_factor']
  if (typeof stated === 'number') return stated
  const mscale = (weight: number): number => (factor <= 1 ? 1 : 0.1 * weight * Math.log(factor) + 1)
  const { mscale: one, mscale_all_dim: all } = config.parameters
  return typeof one === 'number' && typeof all === 'number' && one !== 0 && all !== 0
    ? mscale(one) / mscale(all)
    : mscale(1)
}

/**
 * Frequencies of a RoPE configuration: default, linear (position interpolation), dynamic (its form up to the model's
 * own length), llama3, yarn.
 * @throws `ERR_CONFIG_INVALID` when a parameter of the scaling is missing
 */
export function ropeFrequencies(config: RopeConfig): RopeFrequencies {
  const half = config.rotaryExtent / 2
  const inverse = Array.from({ length: half }, (_, index) => config.theta ** ((-2 * index) / config.rotaryExtent))
  switch (config.type) {
    case 'linear': {
      const factor = parameter(config, 'factor')
      return { inverseFrequencies: Float32Array.from(inverse, (frequency) => frequency / factor), attentionScale: 1 }
    }
    case 'llama3':
      return { inverseFrequencies: Float32Array.from(llama3(config, inverse)), attentionScale: 1 }
    case 'yarn':
      return yarn(config, inverse)
    default:
      return { inverseFrequencies: Float32Array.from(inverse), attentionScale: 1 }
  }
}
