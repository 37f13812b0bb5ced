import { native, type NativeRuntime } from '@swift/kernels'
import { SwiftError, type DType } from '@swift/spec'
import { fromNative } from './native-error.ts'

/** Dtypes by the code used across the native binding. */
export const dtypeNames: readonly DType[] = [
  'float32',
  'bfloat16',
  'float16',
  'int32',
  'uint8',
  'int8',
  'float64',
  'int64',
  'nf4',
  'fp4',
]

/** One op of the native table, arranged for fast encoding of calls. */
export interface NativeOp {
  readonly code: number
  readonly name: string
  readonly inputs: readonly string[]
  readonly variadic: readonly string[]
  readonly attributes: readonly string[]
  readonly outputs: readonly string[]
}

interface OpTableEntry {
  readonly name: string
  readonly inputs: readonly { readonly name: string; readonly optional: boolean }[]
  readonly variadic: readonly string[]
  readonly attributes: readonly { readonly name: string; readonly default: number | null }[]
  readonly outputs: readonly string[]
}

let table: NativeRuntime | undefined
let ops: ReadonlyMap<string, NativeOp> | undefined

/** The tensor table of this thread; made at the first use. */
export function runtime(): NativeRuntime {
  table ??= new (native().NativeRuntime)()
  return table
}

/** Finds a declared op. @throws `ERR_OP_UNKNOWN` */
export function findOp(name: string): NativeOp {
  ops ??= readTable()
  const op = ops.get(name)
  if (op !== undefined) return op
  throw new SwiftError({
    code: 'ERR_OP_UNKNOWN',
    asked: `The op ${name}`,
    found: `${ops.size} ops are declared and it is not among them`,
    remedy: 'Check the spelling, and that the native binary and this package have the same version',
  })
}

/** Names of all declared ops. */
export function opNames(): readonly string[] {
  ops ??= readTable()
  return [...ops.keys()]
}

function readTable(): ReadonlyMap<string, NativeOp> {
  const entries = JSON.parse(native().opTable()) as readonly OpTableEntry[]
  return new Map(
    entries.map((entry, code) => [
      entry.name,
      {
        code,
        name: entry.name,
        inputs: entry.inputs.map((input) => input.name),
        variadic: entry.variadic,
        attributes: entry.attributes.map((attribute) => attribute.name),
        outputs: entry.outputs,
      },
    ]),
  )
}

/** Calls into the binding and turns its coded errors into {@link SwiftError}s. */
export function guarded<T>(call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw fromNative(error)
  }
}

/** As {@link guarded}, for calls that return a promise. */
export async function guardedAsync<T>(call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw fromNative(error)
  }
}
