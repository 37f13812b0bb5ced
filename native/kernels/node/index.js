import { native } from './load.js'

const binding = native()

export { native }
export const {
  NativeFile,
  NativeRuntime,
  NativeTokenizer,
  NativeStreamDecoder,
  cpuInfo,
  opTable,
  rooflineBandwidth,
  rooflineInt8,
  rooflinePeak,
  trainByteLevelTokenizer,
} = binding
