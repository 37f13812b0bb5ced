import { SwiftError } from '@swift/spec'
import type { Tensor } from '../tensor.ts'

/** Elements that share one scale of 8-bit optimizer states. */
export const optimizerStateBlock = 256

/** One parameter of {@link adamW}; all tensors have as many elements. */
export interface AdamWEntry {
  /** float32 or bfloat16, updated in place. */
  readonly parameter: Tensor
  /** float32. */
  readonly gradient: Tensor
  /** First moment, float32, updated in place. */
  readonly firstMoment: Tensor
  /** Second moment, float32, updated in place. */
  readonly secondMoment: Tensor
}

/** One parameter of {@link adamW8bit}. */
export interface AdamW8bitEntry {
  readonly parameter: Tensor
  readonly gradient: Tensor
  /** Codes of the first moment, uint8. */
  readonly firstCodes: Tensor
  /** Scales of the first moment, float32 [⌈n/256⌉]. */
  readonly firstScales: Tensor
  /** Codes of the second moment, uint8. */
  readonly secondCodes: Tensor
  /** Scales of the second moment, float32 [⌈n/256⌉]. */
  readonly secondScales: Tensor
}

/** Hyperparameters of an AdamW step. */
export interface AdamWOptions {
  readonly learningRate: number
  /** Number of this update; 1 for the first. */
  readonly step: number
  /** Default 0.9. */
  readonly beta1?: number
  /** Default 0.999. */
  readonly beta2?: number
  /** Default 1e-8. */
  readonly epsilon?: number
  /** Decoupled weight decay; default 0. */
  readonly weightDecay?: number
  /** Gradient norm [1] on the device, for clipping in the same pass. */
  readonly norm?: Tensor | undefined
  /** Gradients are scaled by min(1, maxNorm/(norm + 1e-6)); 0 or no `norm` leaves them. */
  readonly maxNorm?: number
  /** Key of the stochastic rounding of bfloat16 parameters; 0 rounds to nearest even. */
  readonly seed?: number
}

function adamAttributes(options: AdamWOptions): Readonly<Record<string, number | undefined>> {
  const { learningRate, step, beta1, beta2, epsilon, weightDecay, maxNorm, seed } = options
  return { learningRate, step, beta1, beta2, epsilon, weightDecay, maxNorm, seed }
}

/**
 * One AdamW step over all parameters in one call (Loshchilov & Hutter 2017, arXiv 1711.05101), with the semantics of
 * `torch.optim.AdamW`, in place.
 */
export function adamW(entries: readonly AdamWEntry[], options: AdamWOptions): void {
  const [first] = entries
  if (first === undefined) return
  const variadic = entries.flatMap((entry) => [entry.parameter, entry.gradient, entry.firstMoment, entry.secondMoment])
  first.parameter.device.run('adamW', { norm: options.norm, variadic }, adamAttributes(options))
}

/** {@link adamW} with block-wise 8-bit states (Dettmers et al. 2021, arXiv 2110.02861), in place. */
export function adamW8bit(entries: readonly AdamW8bitEntry[], options: AdamWOptions): void {
  const [first] = entries
  if (first === undefined) return
  const variadic = entries.flatMap((entry) => [
    entry.parameter,
    entry.gradient,
    entry.firstCodes,
    entry.firstScales,
    entry.secondCodes,
    entry.secondScales,
  ])
  first.parameter.device.run('adamW8bit', { norm: options.norm, variadic }, adamAttributes(options))
}

/** Hyperparameters of an SGD step. */
export interface SgdOptions {
  readonly learningRate: number
  readonly weightDecay?: number
  /** Momentum; needs the entries' momentum buffers. Default 0. */
  readonly momentum?: number
  readonly nesterov?: boolean
  readonly norm?: Tensor | undefined
  readonly maxNorm?: number
}

/** One parameter of {@link sgd}. */
export interface SgdEntry {
  readonly parameter: Tensor
  readonly gradient: Tensor
  /** Momentum buffer, zero at first; required with momentum. */
  readonly momentum?: Tensor
}

/** One step of stochastic gradient descent with the semantics of `torch.optim.SGD`, in place. */
export function sgd(entries: readonly SgdEntry[], options: SgdOptions): void {
  const [first] = entries
  if (first === undefined) return
  const { learningRate, weightDecay, maxNorm, momentum = 0, nesterov } = options
  const { device } = first.parameter
  if (momentum === 0) {
    const variadic = entries.flatMap((entry) => [entry.parameter, entry.gradient])
    device.run('sgd', { norm: options.norm, variadic }, { learningRate, weightDecay, maxNorm })
    return
  }
  const variadic = entries.flatMap((entry) => [entry.parameter, entry.gradient, momentumOf(entry)])
  const attributes = { learningRate, weightDecay, maxNorm, momentum, nesterov }
  device.run('sgdMomentum', { norm: options.norm, variadic }, attributes)
}

function momentumOf(entry: SgdEntry): Tensor {
  if (entry.momentum !== undefined) return entry.momentum
  throw new SwiftError({
    code: 'ERR_OPTIMIZER_STATE',
    asked: 'An SGD step with momentum',
    found: 'an entry without a momentum buffer',
    remedy: 'Pass a zero tensor of the parameter’s shape at the first step and keep it',
  })
}

/** Euclidean norm over all tensors, [1]; fixed order. */
export function gradientNorm(gradients: readonly [Tensor, ...Tensor[]]): Tensor {
  return gradients[0].device.run('gradNorm', { variadic: gradients })[0] as Tensor
}

/** Scales gradients in place by min(1, maxNorm/(norm + 1e-6)); `norm` [1] never leaves the device. */
export function clipGradients(gradients: readonly [Tensor, ...Tensor[]], norm: Tensor, maxNorm: number): void {
  norm.device.run('clipScale', { norm, variadic: gradients }, { maxNorm })
}

/** 1 where every element of every tensor is finite, else 0; [1]. */
export function allFinite(tensors: readonly [Tensor, ...Tensor[]]): Tensor {
  return tensors[0].device.run('allFinite', { variadic: tensors })[0] as Tensor
}
