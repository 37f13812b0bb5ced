import { dtypeNames } from './runtime.ts'
import type { Tensor } from './tensor.ts'

/** A copy in memory of its own, without gradient history. Dense tensors only. */
export function clone(x: Tensor): Tensor {
  return x.device.run('cast', { x }, { dtype: dtypeNames.indexOf(x.dtype) })[0] as Tensor
}
