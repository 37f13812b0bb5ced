import type { RecomputePolicy } from '@swift/spec'
import {
  checkpoint,
  embedding,
  gatherRows,
  linear,
  linearCrossEntropy,
  logProbs,
  rmsNorm,
  scope,
  type Device,
  type Parameter,
  type RandomStream,
  type Tensor,
} from '@swift/tensor'
import type { DecoderConfig } from '../config/decoder-config.ts'
import type { Placement } from './attention-layer.ts'
import type { DecoderLayer, Stream } from './decoder-layer.ts'
import type { DeviceBatch } from './device-batch.ts'
import { KeyValueCache, type CacheOptions } from './key-value-cache.ts'
import { excerptOf, type Excerpt, type ExcerptOptions } from './excerpt.ts'
import type { Linear, RunState } from './linear.ts'

/** The parts of a decoder. */
export interface CausalLMParts {
  readonly config: DecoderConfig
  readonly device: Device
  readonly state: RunState
  readonly embedding: Parameter
  readonly layers: readonly DecoderLayer[]
  readonly finalNorm: Parameter
  /** The head; with a tied head its weight is the embedding's. */
  readonly head: Linear
  readonly inverseFrequencies: Tensor
  readonly attentionScale: number
}

/** How a forward pass runs. */
export interface ForwardOptions {
  /** Policy of the recording tape; here for callers that pass it along. */
  readonly recompute?: RecomputePolicy
  /** Numbers dropout masks; absent: no dropout. */
  readonly random?: RandomStream
}

/** Tokens for a cache: each with its sequence and position. */
export interface DecodeBatch {
  /** [T], int32. */
  readonly inputIds: Tensor
  /** [T], int32. */
  readonly slots: Tensor
  /** [T], int32. */
  readonly positions: Tensor
  /** Tokens whose logits are wanted, [n], int32; default all. */
  readonly rows?: Tensor
}

/** A decoder-only language model of the Llama family over packed batches. */
export class CausalLM implements Disposable {
  readonly #parts: CausalLMParts

  constructor(parts: CausalLMParts) {
    this.#parts = parts
  }

  /** Shape and options. */
  get config(): DecoderConfig {
    return this.#parts.config
  }

  /** Where it computes. */
  get device(): Device {
    return this.#parts.device
  }

  /** The decoder layers. */
  get layers(): readonly DecoderLayer[] {
    return this.#parts.layers
  }

  /** Linear layers in order; the head only when asked for. */
  linears(options: { readonly head?: boolean } = {}): readonly Linear[] {
    const body = this.#parts.layers.flatMap(({ attention: { weights }, mlp }) => [
      weights.query,
      weights.key,
      weights.value,
      weights.output,
      mlp.gate,
      mlp.up,
      mlp.down,
    ])
    return options.head === true ? [...body, this.#parts.head] : body
  }

  /** Weights of the base model in checkpoint order, each once (a tied head is the embedding). */
  parameters(): readonly Parameter[] {
    const { embedding: table, layers, finalNorm, head, config } = this.#parts
    const body = layers.flatMap(({ inputNorm, attention: { weights }, postNorm, mlp }) => [
      inputNorm,
      ...[weights.query, weights.key, weights.value, weights.output].flatMap(parametersOf),
      ...[weights.queryNorm, weights.keyNorm].filter((norm) => norm !== undefined),
      postNorm,
      ...[mlp.gate, mlp.up, mlp.down].flatMap(parametersOf),
    ])
    return [table, ...body, finalNorm, ...(config.tiedHead ? [] : parametersOf(head))]
  }

  /** A short model over the same weights, for timing; see {@link Excerpt}. */
  excerpt(options: ExcerptOptions): Excerpt {
    return excerptOf(this.#parts, options, (parts) => new CausalLM(parts))
  }

  /** Final hidden states of a packed batch, normalised: [T, D]. */
  hidden(batch: DeviceBatch, options: ForwardOptions = {}): Tensor {
    const { state, inverseFrequencies, attentionScale } = this.#parts
    const { positions, cuSeqlens, inputIds } = batch
    const placement: Placement = { positions, cuSeqlens, inverseFrequencies, attentionScale }
    state.random = options.random
    try {
      let stream: Stream = { delta: embedding(inputIds, this.#parts.embedding.value) }
      for (const layer of this.layers) {
        const { delta, residual } = stream
        stream = this.#checkpointed(layer, stream, placement, options.random)
        // The tape has handles of its own to what backward needs; nobody reads these again.
        delta.release()
        residual?.release()
      }
      return this.#finish(stream)
    } finally {
      state.random = undefined
    }
  }

  #checkpointed(layer: DecoderLayer, stream: Stream, placement: Placement, random: RandomStream | undefined): Stream {
    const { state } = this.#parts
    const body = (delta: Tensor, residual?: Tensor): Tensor[] => {
      // Backward runs this again after the forward pass has ended.
      const outer = state.random
      state.random = random
      try {
        const out = layer.forward({ delta, residual }, placement)
        return [out.delta, out.residual as Tensor]
      } finally {
        state.random = outer
      }
    }
    const inputs = stream.residual === undefined ? [stream.delta] : [stream.delta, stream.residual]
    // A scope per layer: without it every intermediate would live until the whole forward pass ends.
    const outputs = scope(() => checkpoint((...tensors) => body(tensors[0] as Tensor, tensors[1]), inputs, random))
    const [delta, residual] = outputs
    return { delta: delta as Tensor, residual }
  }

  #finish({ delta, residual }: Stream): Tensor {
    const { finalNorm, config } = this.#parts
    return rmsNorm(delta, finalNorm.value, { epsilon: config.normEpsilon, residual }).y
  }

  /**
   * Sum of weighted cross entropies in nats, [1], and the number of targets with the largest logit, [1]. Logits are
   * never stored whole.
   * @throws TypeError when the batch has no labels
   */
  loss(batch: DeviceBatch, options: ForwardOptions = {}): { lossSum: Tensor; correct: Tensor } {
    if (batch.labels === undefined) throw new TypeError('a loss needs labels')
    return linearCrossEntropy(this.hidden(batch, options), this.#parts.head.weight.value, batch.labels, {
      weights: batch.lossWeights,
    })
  }

  /** Log-probability of each label, [T], in nats; 0 where the label is −100. */
  logProbs(batch: DeviceBatch, options: ForwardOptions & { readonly temperature?: number } = {}): Tensor {
    if (batch.labels === undefined) throw new TypeError('log-probabilities need labels')
    const { temperature = 1 } = options
    return logProbs(this.hidden(batch, options), this.#parts.head.weight.value, batch.labels, { temperature })
  }

  /** Logits of final hidden states: [n, D] → [n, V]. Meant for few rows. */
  logits(hidden: Tensor): Tensor {
    const { head } = this.#parts
    return head.adapter === undefined ? linear(hidden, head.weight.value) : head.forward(hidden)
  }

  /** An empty cache for generation. */
  newCache(options: CacheOptions): KeyValueCache {
    return new KeyValueCache(this.device, this.config, options)
  }

  /** Extends a cache by tokens and returns the logits of the wanted ones, [n, V]. Serves prefill and decode. */
  decode(cache: KeyValueCache, { inputIds, slots, positions, rows }: DecodeBatch): Tensor {
    const { inverseFrequencies, attentionScale } = this.#parts
    const placement: Placement = { positions, slots, inverseFrequencies, attentionScale }
    let stream: Stream = { delta: embedding(inputIds, this.#parts.embedding.value) }
    this.layers.forEach((layer, index) => {
      const { delta, residual } = stream
      stream = scope(() => layer.forward({ delta, residual }, placement, cache.layers[index]))
      delta.release()
      residual?.release()
    })
    const hidden = this.#finish(stream)
    return this.logits(rows === undefined ? hidden : gatherRows(hidden, rows))
  }

  /** Frees all weights. Adapters belong to whoever attached them. */
  [Symbol.dispose](): void {
    for (const parameter of this.parameters()) parameter[Symbol.dispose]()
    this.#parts.inverseFrequencies.release()
  }
}

function parametersOf({ weight, bias }: Linear): Parameter[] {
  return bias === undefined ? [weight] : [weight, bias]
}
