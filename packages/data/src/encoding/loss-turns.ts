import type { ChatMessage } from '@swift/spec'

/**
 * Which tokens of a chat are trained: `assistant`, all that assistants say (default); `last`, what the assistant says
 * after the last user turn; `all`, every token of the rendered chat. A turn's own `loss` overrides the first two.
 */
export type LossStrategy = 'assistant' | 'last' | 'all'

/** A turn to train and its weight. */
export interface TrainedTurn {
  readonly index: number
  readonly weight: number
}

/** The turns a strategy trains, in order. */
export function findTrainedTurns(messages: readonly ChatMessage[], strategy: LossStrategy): TrainedTurn[] {
  const lastUser = messages.findLastIndex(({ role }) => role === 'user')
  return messages.flatMap((message, index) => {
    const byStrategy = message.role === 'assistant' && (strategy !== 'last' || index > lastUser)
    const weight = message.loss_scale ?? 1
    return (message.loss ?? byStrategy) && weight > 0 ? [{ index, weight }] : []
  })
}
