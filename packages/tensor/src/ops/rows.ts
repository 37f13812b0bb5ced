import type { DType } from '@swift/spec'
import { defineOp } from '../define-op.ts'
import type { Device } from '../device.ts'
import { dtypeNames } from '../runtime.ts'
import type { Tensor } from '../tensor.ts'

const reshapeOp = defineOp<readonly [Tensor], { from: readonly number[]; to: readonly number[] }>({
  name: 'reshape',
  forward: ([x], { to }) => x.view(to),
  backward: (_context, [dy], { from }) => (dy === undefined ? [] : [dy.view(from)]),
})

/** The same memory with another shape of as many elements. */
export function reshape(x: Tensor, shape: readonly number[]): Tensor {
  return reshapeOp([x], { from: x.shape, to: shape })[0] as Tensor
}

const castOp = defineOp<readonly [Tensor], { from: DType; to: DType }>({
  name: 'cast',
  forward: ([x], { to }) => x.device.run('cast', { x }, { dtype: dtypeNames.indexOf(to) })[0] as Tensor,
  backward: (_context, [dy]) => [dy],
})

/** Conversion to another dense dtype; floats round to nearest even, integers truncate and saturate. */
export function cast(x: Tensor, dtype: DType): Tensor {
  return x.dtype === dtype ? x : (castOp([x], { from: x.dtype, to: dtype })[0] as Tensor)
}

const concatOp = defineOp<readonly Tensor[], { shapes: readonly (readonly number[])[] }>({
  name: 'concatRows',
  forward: (parts) => (parts[0] as Tensor).device.run('concat', { variadic: parts })[0] as Tensor,
  backward: (_context, [dy], { shapes }) => {
    if (dy === undefined) return []
    let offset = 0
    return shapes.map((shape) => {
      const part = dy.view(shape, offset)
      offset += part.elements
      return part
    })
  },
})

/** Joins tensors along the first dimension. */
export function concatRows(parts: readonly Tensor[]): Tensor {
  return concatOp(parts, { shapes: parts.map((part) => part.shape) })[0] as Tensor
}

const gatherOp = defineOp<readonly [Tensor], { indices: Tensor; rows: number }>({
  name: 'gatherRows',
  forward: ([x], { indices }, context) => {
    context.save(indices)
    return x.device.run('gatherRows', { x, indices })[0] as Tensor
  },
  backward: (context, [dy], { rows }) =>
    dy === undefined ? [] : dy.device.run('scatterAddRows', { x: dy, indices: context.saved(0) }, { rows }),
})

/** Rows (first dimension) of `x` by index, int32 [n]. */
export function gatherRows(x: Tensor, indices: Tensor): Tensor {
  return gatherOp([x], { indices, rows: x.shape[0] ?? 0 })[0] as Tensor
}

/** [R, C] → [C, R]. Not differentiable. */
export function transpose(x: Tensor): Tensor {
  return x.device.run('transpose', { x })[0] as Tensor
}

/** A tensor filled with one value. */
export function full(device: Device, shape: readonly number[], value: number, dtype: DType = 'float32'): Tensor {
  return device.run('fill', {}, { value, dtype: dtypeNames.indexOf(dtype) }, shape)[0] as Tensor
}

/** A tensor of zeros. */
export function zeros(device: Device, shape: readonly number[], dtype: DType = 'float32'): Tensor {
  return full(device, shape, 0, dtype)
}
