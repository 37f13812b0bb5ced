import { rmsNorm, swiglu, type KeyValueTensors, type Parameter, type Tensor } from '@swift/tensor'
import type { DecoderConfig } from '../config/decoder-config.ts'
import type { AttentionLayer, Placement } from './attention-layer.ts'
import { Linear } from './linear.ts'

/** Projections of the gated MLP. */
export interface MlpWeights {
  readonly gate: Linear
  readonly up: Linear
  readonly down: Linear
}

/** What flows between layers: the last block's output, not yet added, and the residual stream before it. */
export interface Stream {
  /** Output of the block before, [T, D]. */
  readonly delta: Tensor
  /** Residual stream before that block; absent at the first layer, where `delta` is the embedding. */
  readonly residual?: Tensor | undefined
}

/** One pre-norm decoder layer. Additions to the residual stream happen inside the norms that read it. */
export class DecoderLayer {
  readonly inputNorm: Parameter
  readonly attention: AttentionLayer
  readonly postNorm: Parameter
  readonly mlp: MlpWeights
  readonly #epsilon: number

  constructor(
    inputNorm: Parameter,
    attention: AttentionLayer,
    postNorm: Parameter,
    mlp: MlpWeights,
    config: DecoderConfig,
  ) {
    this.inputNorm = inputNorm
    this.attention = attention
    this.postNorm = postNorm
    this.mlp = mlp
    this.#epsilon = config.normEpsilon
  }

  /** One layer: [T, D] streams in and out. */
  forward({ delta, residual }: Stream, placement: Placement, cache?: KeyValueTensors): Required<Stream> {
    const epsilon = this.#epsilon
    // Passes with a cache have few tokens: they wait for weights, whatever activations are stored in.
    const output = cache === undefined ? delta.device.activationDType : 'float32'
    const first = rmsNorm(delta, this.inputNorm.value, { epsilon, residual, output })
    const mixed = this.attention.forward(first.y, placement, cache)
    const second = rmsNorm(mixed, this.postNorm.value, { epsilon, residual: first.sum, output })
    const { gate, up, down } = this.mlp
    const [gated, raised] = Linear.together(second.y, [gate, up]) as [Tensor, Tensor]
    return { delta: down.forward(swiglu(gated, raised)), residual: second.sum }
  }
}
