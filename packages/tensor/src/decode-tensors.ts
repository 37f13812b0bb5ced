import type { DType } from '@swift/spec'
import type { Device } from './device.ts'
import { dtypeNames } from './runtime.ts'
import { Tensor } from './tensor.ts'

/** Reads the tensors that a native call made from the call buffer: `[id, dtype, block, nestedBlock, rank, ...shape]` each. */
export function decodeTensors(device: Device, result: Float64Array, count: number): Tensor[] {
  const tensors: Tensor[] = []
  let at = 0
  for (let index = 0; index < count; index++) {
    const id = result[at] as number
    const dtype = dtypeNames[result[at + 1] as number] as DType
    const block = result[at + 2] as number
    const quant = block > 0 ? { block, nestedBlock: result[at + 3] as number } : undefined
    const end = at + 5 + (result[at + 4] as number)
    const shape: number[] = []
    for (at += 5; at < end; at++) shape.push(result[at] as number)
    tensors.push(new Tensor(id, shape, dtype, device, quant))
  }
  return tensors
}
