import type { AttachedAdapter } from '@swift/spec'
import { clone, scope, transpose, type Tensor } from '@swift/tensor'
import { asLora } from './attach.ts'

/** weight + sign · scale · B·A, in float32 whatever the device's compute dtype. */
function shifted(weight: Tensor, attached: AttachedAdapter<Tensor>, sign: 1 | -1): Tensor {
  const { a, b, scale } = asLora(attached)
  return scope(() => {
    const { device } = weight
    const delta = device.run('linear', { x: b.value, weight: transpose(a.value) }, { bfloat16: false })[0] as Tensor
    const result = clone(weight)
    device.run('addScaled', { y: result, x: delta }, { factor: sign * scale })
    return result
  })
}

/** W + s·B·A. */
export function mergeLora(weight: Tensor, attached: AttachedAdapter<Tensor>): Tensor {
  return shifted(weight, attached, 1)
}

/** W − s·B·A. */
export function unmergeLora(weight: Tensor, attached: AttachedAdapter<Tensor>): Tensor {
  return shifted(weight, attached, -1)
}
