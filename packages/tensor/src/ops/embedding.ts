import { defineOp } from '../define-op.ts'
import type { Tensor } from '../tensor.ts'

const embeddingOp = defineOp<readonly [Tensor], { ids: Tensor; rows: number; scale: number }>({
  name: 'embedding',
  forward: ([weight], { ids, scale }, context) => {
    context.save(ids)
    return weight.device.run('embedding', { ids, weight }, { scale })[0] as Tensor
  },
  backward: (context, [dy], { rows, scale }) => {
    if (dy === undefined) return []
    return [dy.device.run('embeddingBackward', { dy, ids: context.saved(0) }, { rows, scale })[0]]
  },
})

/**
 * Rows of an embedding table, optionally scaled.
 * @param ids - [T], int32
 * @param weight - [V, D], any dense float dtype
 * @returns [T, D], float32
 * @throws `ERR_TOKEN_RANGE` at the next read when an id is outside the table
 */
export function embedding(ids: Tensor, weight: Tensor, options: { readonly scale?: number } = {}): Tensor {
  return embeddingOp([weight], { ids, rows: weight.shape[0] ?? 0, scale: options.scale ?? 1 })[0] as Tensor
}
