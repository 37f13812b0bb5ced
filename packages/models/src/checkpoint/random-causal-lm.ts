import { cast, full, normal, scope, withCategory, zeros, type Device } from '@swift/tensor'
import type { DecoderConfig } from '../config/decoder-config.ts'
import { readDecoderConfig } from '../config/read-decoder-config.ts'
import type { CausalLM } from '../network/causal-lm.ts'
import { buildCausalLM } from './build-causal-lm.ts'
import { expectedTensors } from './weight-plan.ts'

/** How {@link randomCausalLM} draws. */
export interface RandomModelOptions {
  /** Device that computes. */
  readonly device: Device
  /** Seed of the draws. Default 0. */
  readonly seed?: number
  /** Deviation of matrices and embeddings. Default: `initializer_range` of the configuration, else 0.02. */
  readonly std?: number
  /** Dtype of matrices and embeddings. Default `float32`. */
  readonly dtype?: 'float32' | 'bfloat16'
  /** Whether the weights are trained. Default false. */
  readonly trainable?: boolean
}

/**
 * A model with random weights: matrices normal, norms 1, biases 0; for training from scratch, tests and measurements.
 * @param config - contents of a config.json
 * @throws `ERR_ARCHITECTURE_UNKNOWN`, `ERR_CONFIG_INVALID`
 */
export function randomCausalLM(config: Readonly<Record<string, unknown>>, options: RandomModelOptions): CausalLM {
  const read: DecoderConfig = readDecoderConfig(config)
  const { device, seed = 0, dtype = 'float32', trainable = false } = options
  const stated = config['initializer_range']
  const std = options.std ?? (typeof stated === 'number' ? stated : 0.02)
  const shapes = expectedTensors(read)
  const order = new Map([...shapes.keys()].map((name, index) => [name, index]))
  return buildCausalLM(
    read,
    device,
    (name) => {
      const shape = shapes.get(name) as readonly number[]
      return withCategory('weights', () =>
        scope(() => {
          if (name.endsWith('norm.weight')) return full(device, shape, 1)
          if (name.endsWith('.bias')) return zeros(device, shape)
          return cast(normal(device, shape, { seed: seed * 100_003 + (order.get(name) ?? 0), std }), dtype)
        }),
      )
    },
    trainable,
  )
}
