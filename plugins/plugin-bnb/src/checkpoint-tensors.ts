import { SwiftError } from '@swift/spec'
import { quant4FromParts, quant4Parts, scope, type Device, type Tensor } from '@swift/tensor'
import { fp4Codes, nf4Codes } from './code-table.ts'
import type { BnbOptions } from './options.ts'

interface QuantState {
  readonly quant_type: 'nf4' | 'fp4'
  readonly blocksize: number
  readonly dtype: string
  readonly shape: readonly number[]
  readonly nested_blocksize?: number
  readonly nested_dtype?: string
  readonly nested_offset?: number
}

const sourceDtypes = new WeakMap<Tensor, string>()

/** Remembers the dtype a weight was quantized from: checkpoints name it, and readers dequantize to it. */
export function rememberSource(weight: Tensor, dtype: string): Tensor {
  sourceDtypes.set(weight, dtype)
  return weight
}

function importError(found: string): SwiftError {
  return new SwiftError({
    code: 'ERR_BNB_TENSORS',
    asked: 'Reading a bitsandbytes 4-bit weight',
    found,
    remedy: 'Save the checkpoint again with bitsandbytes, or load the dense model with loadIn4bit',
  })
}

function required(tensors: ReadonlyMap<string, Tensor>, key: string): Tensor {
  const tensor = tensors.get(key)
  if (tensor === undefined) throw importError(`the tensor weight${key} is missing`)
  return tensor
}

async function readState(tensors: ReadonlyMap<string, Tensor>): Promise<QuantState> {
  const key = [...tensors.keys()].find((name) => name.startsWith('.quant_state.bitsandbytes__'))
  if (key === undefined) throw importError('no quant_state tensor')
  const text = new TextDecoder().decode(await required(tensors, key).bytes())
  try {
    return JSON.parse(text) as QuantState
  } catch (cause) {
    throw importError(`${key} is not JSON (${String(cause)})`)
  }
}

async function checkCodes(tensors: ReadonlyMap<string, Tensor>, kind: 'nf4' | 'fp4'): Promise<void> {
  const stored = await required(tensors, '.quant_map').toArray()
  const known = kind === 'nf4' ? nf4Codes : fp4Codes
  const equal = stored.length === 16 && stored.every((value, index) => Math.abs(value - (known[index] ?? 2)) < 1e-6)
  if (!equal) throw importError(`its code table is not that of ${kind}`)
}

/** Builds a 4-bit weight from the tensors of a checkpoint, without touching its codes. @throws `ERR_BNB_TENSORS` */
export async function importWeight(
  tensors: ReadonlyMap<string, Tensor>,
  shape: readonly [number, number],
): Promise<Tensor> {
  const state = await readState(tensors)
  if (state.quant_type !== 'nf4' && state.quant_type !== 'fp4')
    throw importError(`quant_type ${String(state.quant_type)}`)
  if (state.shape.join() !== shape.join()) {
    throw importError(`its shape is [${state.shape.join(', ')}], the layer needs [${shape.join(', ')}]`)
  }
  await checkCodes(tensors, state.quant_type)
  const nested = state.nested_blocksize !== undefined
  const weight = scope(() => {
    const codes = required(tensors, '')
    const parts = {
      codes: codes.view([codes.elements]),
      absmax: required(tensors, '.absmax'),
      nestedAbsmax: nested ? required(tensors, '.nested_absmax') : undefined,
      map: nested ? required(tensors, '.nested_quant_map') : undefined,
    }
    return quant4FromParts(parts, {
      dtype: state.quant_type,
      shape,
      block: state.blocksize,
      ...(nested ? { nestedBlock: state.nested_blocksize as number, offset: state.nested_offset ?? 0 } : {}),
    })
  })
  return rememberSource(weight, state.dtype)
}

function stateTensor(device: Device, state: QuantState): Tensor {
  // Python's json.dumps separators, so that the bytes are those of bitsandbytes.
  const fields = Object.entries(state).map(([key, value]) => `${JSON.stringify(key)}: ${pythonJson(value)}`)
  return device.tensor(new TextEncoder().encode(`{${fields.join(', ')}}`))
}

function pythonJson(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(', ')}]`
  return JSON.stringify(value)
}

/** The tensors bitsandbytes stores for a 4-bit weight, by the rest of the key after the weight's name. */
export async function exportWeight(weight: Tensor, options: BnbOptions): Promise<ReadonlyMap<string, Tensor>> {
  const kind = weight.dtype === 'fp4' ? 'fp4' : 'nf4'
  const parts = quant4Parts(weight)
  const { device, quant } = weight
  const offset = parts.offset === undefined ? undefined : await parts.offset.item()
  parts.offset?.release()
  const state: QuantState = {
    quant_type: kind,
    blocksize: quant?.block ?? 64,
    dtype: sourceDtypes.get(weight) ?? options.bnb4bitComputeDtype,
    shape: weight.shape,
    ...(offset === undefined
      ? {}
      : { nested_blocksize: quant?.nestedBlock ?? 256, nested_dtype: 'float32', nested_offset: offset }),
  }
  const codes = parts.codes.view([parts.codes.elements, 1])
  parts.codes.release()
  const tensors = new Map<string, Tensor>([
    ['', codes],
    ['.absmax', parts.absmax],
    ['.quant_map', device.tensor(Float32Array.from(kind === 'nf4' ? nf4Codes : fp4Codes))],
  ])
  if (parts.nestedAbsmax !== undefined) tensors.set('.nested_absmax', parts.nestedAbsmax)
  if (parts.map !== undefined) tensors.set('.nested_quant_map', parts.map)
  tensors.set(`.quant_state.bitsandbytes__${kind}`, stateTensor(device, state))
  return tensors
}
