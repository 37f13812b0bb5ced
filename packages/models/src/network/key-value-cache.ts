import { withCategory, zeros, type Device, type KeyValueTensors } from '@swift/tensor'
import type { DecoderConfig } from '../config/decoder-config.ts'

/** Extents and dtype of a cache. */
export interface CacheOptions {
  /** B, sequences. */
  readonly sequences: number
  /** S, longest sequence. */
  readonly maxLength: number
  /** Dtype of the entries. Default `float32`. */
  readonly dtype?: 'float32' | 'bfloat16'
}

/** Keys and values of every layer, [B, S, KV, D] each. */
export class KeyValueCache implements Disposable {
  readonly layers: readonly KeyValueTensors[]
  readonly options: CacheOptions

  constructor(device: Device, config: DecoderConfig, options: CacheOptions) {
    const shape = [options.sequences, options.maxLength, config.keyValueHeads, config.headExtent]
    const make = (): KeyValueTensors['keys'] => zeros(device, shape, options.dtype ?? 'float32').detachFromScope()
    this.options = options
    this.layers = withCategory('cache', () =>
      Array.from({ length: config.layerCount }, () => ({ keys: make(), values: make() })),
    )
  }

  [Symbol.dispose](): void {
    for (const { keys, values } of this.layers) {
      keys.release()
      values.release()
    }
  }
}
