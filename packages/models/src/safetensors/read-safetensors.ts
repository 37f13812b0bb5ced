import type { Device, Tensor } from '@swift/tensor'
import { WeightFiles } from './weight-files.ts'

/** Tensors read from a file; dispose them when done. */
export interface ReadTensors extends Disposable {
  readonly tensors: ReadonlyMap<string, Tensor>
  readonly metadata: Readonly<Record<string, string>>
}

/**
 * All tensors of a safetensors file or a folder of shards, mapped onto a device. They are read-only.
 * @throws `ERR_WEIGHTS_MISSING`, `ERR_SAFETENSORS_…`
 */
export function readSafetensors(path: string, device: Device): ReadTensors {
  const files = WeightFiles.open(path)
  const tensors = new Map(files.names().map((name) => [name, files.tensor(name, device).detachFromScope()]))
  return {
    tensors,
    metadata: files.metadata,
    [Symbol.dispose]: () => {
      for (const tensor of tensors.values()) tensor.release()
    },
  }
}
