export { gelu, geglu, relu, silu, swiglu } from './activation.ts'
export {
  attention,
  attentionDecode,
  kvAppend,
  kvEnter,
  rope,
  type AttentionOptions,
  type EnterOptions,
  type KeyValueTensors,
  type RopeOptions,
} from './attention.ts'
export {
  abs,
  add,
  clamp,
  div,
  dropout,
  exp,
  log,
  maximum,
  minimum,
  mul,
  neg,
  pow,
  scale,
  sigmoid,
  sqrt,
  sub,
  tanh,
} from './elementwise.ts'
export { embedding } from './embedding.ts'
export { linear, linearTogether, type LinearBranch, type LinearOptions, type LinearWeights } from './linear.ts'
export { layerNorm, rmsNorm, type RmsNormOptions } from './normalization.ts'
export {
  dequantize,
  quant4FromParts,
  quant4Parts,
  quantize4bit,
  type Quant4FromPartsOptions,
  type Quant4Parts,
  type Quantize4BitOptions,
} from './quant4.ts'
export { argmax, logSoftmax, max, mean, softmax, sum, type ReductionAxis } from './reduce.ts'
export { cast, concatRows, full, gatherRows, reshape, transpose, zeros } from './rows.ts'
export {
  ignoredTarget,
  linearCrossEntropy,
  logProbs,
  type HeadOptions,
  type LinearCrossEntropyOptions,
} from './linear-cross-entropy.ts'
export { normal, sample, uniform, type SampleOptions } from './random-tensors.ts'
export {
  adamW,
  adamW8bit,
  allFinite,
  clipGradients,
  gradientNorm,
  optimizerStateBlock,
  sgd,
  type AdamW8bitEntry,
  type AdamWEntry,
  type AdamWOptions,
  type SgdEntry,
  type SgdOptions,
} from './update.ts'
