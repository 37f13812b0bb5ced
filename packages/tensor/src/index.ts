export type { ComputeDType, DType, QuantLayout, RecomputePolicy } from '@swift/spec'
export { memoryCategories, withCategory, type MemoryCategory } from './category.ts'
export { checkpoint } from './checkpoint.ts'
export { clone } from './clone.ts'
export { defineOp, type BackwardContext, type ForwardContext, type OpDefinition } from './define-op.ts'
export {
  describeCpu,
  device,
  Device,
  type CpuDescription,
  type DeviceName,
  type DeviceStatistics,
  type HostData,
  type OpTime,
} from './device.ts'
export type { OpAttributes, OpInputs } from './encode-call.ts'
export * from './ops/index.ts'
export { Parameter } from './parameter.ts'
export { Program } from './program.ts'
export { RandomStream } from './random.ts'
export { opNames } from './runtime.ts'
export { keep, scope } from './scope.ts'
export { clearGradient, currentTape, gradientOf, Tape, withoutTape, type TapeOptions } from './tape.ts'
export { Tensor, type HostArray } from './tensor.ts'
