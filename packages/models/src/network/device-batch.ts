import type { PackedBatch } from '@swift/spec'
import type { Device, Tensor } from '@swift/tensor'

/** A packed batch on a device. */
export interface DeviceBatch {
  /** [T], int32. */
  readonly inputIds: Tensor
  /** [T], int32. */
  readonly positions: Tensor
  /** [n + 1], int32. */
  readonly cuSeqlens: Tensor
  /** [T], int32; −100 takes no part in the loss. */
  readonly labels?: Tensor
  /** [T], float32. */
  readonly lossWeights?: Tensor
}

/** Uploads a packed batch. The tensors belong to the current scope. */
export function toDeviceBatch(device: Device, batch: PackedBatch): DeviceBatch {
  return {
    inputIds: device.tensor(batch.inputIds),
    positions: device.tensor(batch.positions),
    cuSeqlens: device.tensor(batch.cuSeqlens),
    labels: device.tensor(batch.labels),
    ...(batch.lossWeights === undefined ? {} : { lossWeights: device.tensor(batch.lossWeights) }),
  }
}
