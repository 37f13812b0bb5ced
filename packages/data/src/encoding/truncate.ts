import { RowProblem } from '../row-problem.ts'
import { countTrained, sliceSequence, type TokenSequence } from './token-sequence.ts'

/**
 * What becomes of a sequence longer than the maximum: `delete` rejects the row, `left` keeps its end, `right` keeps its
 * beginning, `split` makes several sequences of it.
 */
export type TruncationStrategy = 'delete' | 'left' | 'right' | 'split'

/**
 * Sequences of at most `maxLength` tokens. The first token of a piece is nothing to learn, since what came before it is
 * gone. A row of which nothing to learn is left is rejected; pieces of a split without anything to learn are left out.
 */
export function truncate(sequence: TokenSequence, maxLength: number, strategy: TruncationStrategy): TokenSequence[] {
  const { length } = sequence.ids
  const pieces: TokenSequence[] = []
  if (length <= maxLength) pieces.push(sequence)
  else if (strategy === 'left') pieces.push(sliceSequence(sequence, length - maxLength, length))
  else if (strategy === 'right') pieces.push(sliceSequence(sequence, 0, maxLength))
  else if (strategy === 'split') {
    for (let start = 0; start < length; start += maxLength) {
      pieces.push(sliceSequence(sequence, start, Math.min(start + maxLength, length)))
    }
  } else {
    throw new RowProblem('too_long', `the row has ${length} tokens and maxLength is ${maxLength}`)
  }
  const useful = pieces.filter((piece) => countTrained(piece) > 0)
  if (useful.length > 0) return useful
  throw new RowProblem(
    'nothing_to_train',
    length > maxLength
      ? `the row has ${length} tokens and none to learn is left after truncating it to ${maxLength}`
      : 'no token of the row is to be learned',
  )
}
