import { defineOp } from '../define-op.ts'
import type { Tensor } from '../tensor.ts'

/** What a reduction runs over: everything (→ [1]), the last dimension, or the first. */
export type ReductionAxis = 'all' | 'last' | 'first'

const axisCodes: Readonly<Record<ReductionAxis, number>> = { all: 0, last: 1, first: 2 }

function spread(gradient: Tensor, shape: readonly number[], axis: ReductionAxis, factor: number): Tensor {
  const device = gradient.device
  const ones = device.run('fill', {}, { value: factor }, shape)[0] as Tensor
  const rows = shape.slice(0, -1).reduce((product, extent) => product * extent, 1)
  const operand = axis === 'last' ? gradient.view([rows, 1]) : gradient
  const flat = axis === 'last' ? ones.view([rows, shape.at(-1) ?? 1]) : ones
  const spreadOut = device.run('mul', { a: flat, b: operand })[0] as Tensor
  return axis === 'last' ? spreadOut.view(shape) : spreadOut
}

function reduction(name: 'sum' | 'mean'): (x: Tensor, axis: ReductionAxis) => Tensor {
  const op = defineOp<readonly [Tensor], { shape: readonly number[]; axis: ReductionAxis }>({
    name,
    forward: ([x], { axis }) => x.device.run(name, { x }, { over: axisCodes[axis] })[0] as Tensor,
    backward: (_context, [dy], { shape, axis }) => {
      if (dy === undefined) return []
      const elements = shape.reduce((product, extent) => product * extent, 1)
      const count = axis === 'all' ? elements : axis === 'last' ? (shape.at(-1) ?? 1) : (shape[0] ?? 1)
      return [spread(dy, shape, axis, name === 'mean' ? 1 / count : 1)]
    },
  })
  return (x, axis) => op([x], { shape: x.shape, axis })[0] as Tensor
}

const sumOp = reduction('sum')
const meanOp = reduction('mean')

/** Sum over everything (→ [1]) or one axis. Fixed order, so equal inputs give equal bits. */
export function sum(x: Tensor, axis: ReductionAxis = 'all'): Tensor {
  return sumOp(x, axis)
}

/** Mean over everything (→ [1]) or one axis. */
export function mean(x: Tensor, axis: ReductionAxis = 'all'): Tensor {
  return meanOp(x, axis)
}

/** Largest element over everything or one axis. Not differentiable. */
export function max(x: Tensor, axis: ReductionAxis = 'all'): Tensor {
  return x.device.run('max', { x }, { over: axisCodes[axis] })[0] as Tensor
}

/** Lowest index of the largest element of each row, int32 [rows]. Not differentiable. */
export function argmax(x: Tensor): Tensor {
  return x.device.run('argmax', { x })[0] as Tensor
}

function rowwise(name: 'softmax' | 'logSoftmax'): (x: Tensor) => Tensor {
  const op = defineOp<readonly [Tensor], object>({
    name,
    forward: ([x], _options, context) => {
      const y = x.device.run(name, { x })[0] as Tensor
      context.save(y)
      return y
    },
    backward: (context, [dy]) =>
      dy === undefined ? [] : dy.device.run(`${name}Backward`, { dy, y: context.saved(0) }),
  })
  return (x) => op([x], {})[0] as Tensor
}

/** Softmax over the last dimension. */
export const softmax: (x: Tensor) => Tensor = rowwise('softmax')

/** Logarithm of the softmax over the last dimension. */
export const logSoftmax: (x: Tensor) => Tensor = rowwise('logSoftmax')
