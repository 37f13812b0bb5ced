import { scope } from './scope.ts'
import type { SavedTensor, TapeNode } from './tape-node.ts'

/**
 * A claim on output 0 of a cheap op: nothing is kept; the first consumer to ask computes it again, the last one to
 * release frees it. Consumers run backward before their producer, so what the producer saved is still there.
 */
export function claimRecipe(producer: TapeNode): SavedTensor {
  let released = false
  const state = shared.get(producer) ?? { claims: 0 }
  state.claims += 1
  shared.set(producer, state)
  return {
    get: () => {
      if (producer.recomputed === undefined) {
        const { recompute } = producer
        if (recompute === undefined) throw new RangeError(`${producer.name} cannot be computed again`)
        const tensor = scope(recompute).detachFromScope()
        producer.recomputed = { tensor, claims: state.claims }
      }
      return producer.recomputed.tensor
    },
    release: () => {
      if (released) return
      released = true
      state.claims -= 1
      if (state.claims > 0) return
      producer.recomputed?.tensor.release()
      producer.recomputed = undefined
    },
  }
}

const shared = new WeakMap<TapeNode, { claims: number }>()
