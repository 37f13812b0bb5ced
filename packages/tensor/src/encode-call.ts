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

/** A call as the binding takes it: ids (0 = left out) and attribute values (NaN = default). */
export interface EncodedCall {
  readonly ids: Float64Array
  readonly values: Float64Array
}

/** Arranges named inputs and attributes in declared order. @throws `ERR_INVALID_ARGUMENT` for an unknown name */
export function encodeCall(op: NativeOp, inputs: OpInputs, attributes: OpAttributes): EncodedCall {
  const variadic = inputs.variadic ?? []
  const ids = new Float64Array(op.inputs.length + variadic.length)
  for (const name in inputs) {
    const tensor = inputs[name]
    if (tensor === undefined || name === 'variadic') continue
    const at = op.inputs.indexOf(name)
    if (at < 0) throw unknownName(op, 'input', name, op.inputs)
    ids[at] = (tensor as Tensor).live()
  }
  for (let index = 0; index < variadic.length; index++) {
    ids[op.inputs.length + index] = (variadic[index] as Tensor).live()
  }
  const values = new Float64Array(op.attributes.length).fill(Number.NaN)
  for (const name in attributes) {
    const value = attributes[name]
    if (value === undefined) continue
    const at = op.attributes.indexOf(name)
    if (at < 0) throw unknownName(op, 'attribute', name, op.attributes)
    values[at] = Number(value)
  }
  return { ids, values }
}

function unknownName(op: NativeOp, kind: string, name: string, known: readonly string[]): SwiftError {
  return new SwiftError({
    code: 'ERR_INVALID_ARGUMENT',
    asked: `${op.name} with the ${kind} ${name}`,
    found: `it takes ${known.length > 0 ? known.join(', ') : `no ${kind}s`}`,
    remedy: 'Check the spelling against the op table',
  })
}
