import { SwiftError } from '@swift/spec'
import type { NativeOp } from './runtime.ts'
import type { Tensor } from './tensor.ts'

/** Tensors by input name; `variadic` holds the repeated groups of a multi-tensor op, flat. */
export interface OpInputs {
  readonly variadic?: readonly Tensor[]
  readonly [name: string]: Tensor | readonly Tensor[] | undefined
}

/** Numbers and flags by attribute name. */
export type OpAttributes = Readonly<Record<string, number | boolean | undefined>>

/**
 * Writes a call in the order the binding takes: ids (0 = left out), attribute values (NaN = default), trailing numbers.
 * @returns the number of ids
 * @throws `ERR_INVALID_ARGUMENT` for an unknown name, `ERR_TENSOR_RELEASED` for a released input
 */
export function encodeCall(
  op: NativeOp,
  inputs: OpInputs,
  attributes: OpAttributes,
  rest: readonly number[],
  buffer: Float64Array,
): number {
  const { variadic = [] } = inputs
  const ids = op.inputs.length + variadic.length
  buffer.fill(0, 0, op.inputs.length)
  for (const name in inputs) {
    const tensor = inputs[name]
    if (tensor === undefined || name === 'variadic') continue
    const at = op.inputs.indexOf(name)
    if (at < 0) throw unknownName(op, 'input', name, op.inputs)
    buffer[at] = (tensor as Tensor).live()
  }
  for (let index = 0; index < variadic.length; index++) {
    buffer[op.inputs.length + index] = (variadic[index] as Tensor).live()
  }
  const end = ids + op.attributes.length
  buffer.fill(Number.NaN, ids, end)
  for (const name in attributes) {
    const value = attributes[name]
    if (value === undefined) continue
    const at = op.attributes.indexOf(name)
    if (at < 0) throw unknownName(op, 'attribute', name, op.attributes)
    buffer[ids + at] = Number(value)
  }
  for (let index = 0; index < rest.length; index++) buffer[end + index] = rest[index] as number
  return ids
}

function unknownName(op: NativeOp, kind: string, name: string, known: readonly string[]): SwiftError {
  return new SwiftError({
    code: 'ERR_INVALID_ARGUMENT',
    asked: `${op.name} with the ${kind} ${name}`,
    found: `it takes ${known.length > 0 ? known.join(', ') : `no ${kind}s`}`,
    remedy: 'Check the spelling against the op table',
  })
}
