/** One sequence of tokens with what the loss reads of it. */
export interface TokenSequence {
  /** Token ids, `[T]`. */
  readonly ids: Int32Array
  /** 1 where the token is something to learn, `[T]`. The first token never is: nothing comes before it. */
  readonly trained: Uint8Array
  /** Weight of each token in the loss, `[T]`; undefined when all are 1. */
  readonly weights: Float32Array | undefined
}

/** A part of a sequence; its first token is nothing to learn. */
export function sliceSequence(sequence: TokenSequence, start: number, end: number): TokenSequence {
  const trained = sequence.trained.slice(start, end)
  if (trained.length > 0) trained[0] = 0
  return { ids: sequence.ids.slice(start, end), trained, weights: sequence.weights?.slice(start, end) }
}

/** Number of tokens to learn. */
export function countTrained(sequence: TokenSequence): number {
  return sequence.trained.reduce((sum, flag) => sum + flag, 0)
}
