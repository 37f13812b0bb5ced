import type { TokenizedDataset } from '../storage/tokenized-dataset.ts'

/** Marks positions without a target. */
export const ignoredLabel = -100

/** Sequences laid one after the other, without padding. `T` tokens, `n` sequences. */
export interface Batch {
  /** Token ids, `[T]`. */
  readonly inputIds: Int32Array
  /** Position of each token within its sequence, from 0, `[T]`. */
  readonly positions: Int32Array
  /** Where each sequence begins, and the end of the last, `[n + 1]`. */
  readonly cuSeqlens: Int32Array
  /**
   * The target of each position, `[T]`: already shifted, so `labels[t]` is the token that should follow `inputIds[t]`
   * in its sequence. -100 where nothing is to be learned, always so at the last position of a sequence.
   */
  readonly labels: Int32Array
  /** Weight of each position's loss, `[T]`; undefined when all are 1. */
  readonly lossWeights: Float32Array | undefined
  /** Which sequences of the dataset these are, `[n]`. */
  readonly rowIds: Int32Array
  /** `T`. */
  readonly tokens: number
  /** Positions with a target. */
  readonly trainedTokens: number
  /** Sum of the weights of the positions with a target: what the summed loss is divided by. */
  readonly trainedWeight: number
}

/** Lays sequences of a dataset one after the other. */
export function collate(dataset: TokenizedDataset, rowIds: readonly number[]): Batch {
  const tokens = rowIds.reduce((sum, row) => sum + dataset.length(row), 0)
  const inputIds = new Int32Array(tokens)
  const positions = new Int32Array(tokens)
  const cuSeqlens = new Int32Array(rowIds.length + 1)
  const labels = new Int32Array(tokens).fill(ignoredLabel)
  const lossWeights = dataset.hasWeights ? new Float32Array(tokens) : undefined
  let start = 0
  let trainedTokens = 0
  let trainedWeight = 0
  for (const [sequenceIndex, row] of rowIds.entries()) {
    const { ids, trained, weights } = dataset.sequence(row)
    inputIds.set(ids, start)
    for (let index = 0; index < ids.length; index += 1) {
      positions[start + index] = index
      const next = index + 1
      if (next === ids.length || trained[next] !== 1) continue
      const weight = weights?.[next] ?? 1
      labels[start + index] = ids[next] ?? ignoredLabel
      if (lossWeights !== undefined) lossWeights[start + index] = weight
      trainedTokens += 1
      trainedWeight += weight
    }
    start += ids.length
    cuSeqlens[sequenceIndex + 1] = start
  }
  return {
    inputIds,
    positions,
    cuSeqlens,
    labels,
    lossWeights,
    rowIds: Int32Array.from(rowIds),
    tokens,
    trainedTokens,
    trainedWeight,
  }
}
