import { Parameter } from '@swift/tensor'
import type { CausalLM, CausalLMParts } from './causal-lm.ts'
import { Linear } from './linear.ts'

/** What an excerpt keeps. */
export interface ExcerptOptions {
  /** Index of the layer it keeps. */
  readonly layer: number
  /** Rows it keeps of the head, at most: targets must be below. */
  readonly vocabulary: number
  /** Rows it keeps of the embedding, at most: token ids must be below. */
  readonly embeddings: number
}

/**
 * A decoder of one layer between the first rows of embedding and head, over the weights of a whole model: it runs the
 * ops of that model with their extents in a fraction of the time. Its embedding takes a gradient, so that the layer has
 * one to hand on as one in the middle has. Disposing it frees its own views and their gradients, and never a weight.
 */
export interface Excerpt extends Disposable {
  /** The decoder. Not to be disposed itself. */
  readonly model: CausalLM
  /** Rows of its head. */
  readonly vocabulary: number
  /** Frees the gradients of its own views; those of the layer are the whole model's. */
  clearGradients(): void
}

/** The first `rows` rows of a matrix under a name of its own; a packed weight has no rows to take and stays whole. */
function firstRows({ name, value }: Parameter, rows: number, trainable: boolean): Parameter {
  const [all = 0, ...rest] = value.shape
  const cut = value.quant === undefined ? value.view([Math.min(rows, all), ...rest]) : value.alias()
  return new Parameter(`${name} (excerpt)`, cut, trainable)
}

/** Makes an {@link Excerpt} of the parts of a model; `make` puts parts together. @throws RangeError for a layer that is not there */
export function excerptOf(
  parts: CausalLMParts,
  { layer, vocabulary, embeddings }: ExcerptOptions,
  make: (parts: CausalLMParts) => CausalLM,
): Excerpt {
  const kept = parts.layers[layer]
  if (kept === undefined) throw new RangeError(`there is no layer ${layer} among ${parts.layers.length}`)
  const { embedding, head } = parts
  const table = firstRows(embedding, embeddings, true)
  const headWeight = firstRows(head.weight, vocabulary, head.weight.trainable)
  const model = make({
    ...parts,
    layers: [kept],
    embedding: table,
    head: new Linear(head.path, headWeight, head.bias, parts.state),
  })
  return {
    model,
    vocabulary: headWeight.value.shape[0] ?? 0,
    clearGradients: () => {
      table.clearGradient()
      headWeight.clearGradient()
    },
    [Symbol.dispose]: () => {
      table[Symbol.dispose]()
      headWeight[Symbol.dispose]()
    },
  }
}
