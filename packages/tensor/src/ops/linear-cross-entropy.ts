import { defineOp } from '../define-op.ts'
import type { Tensor } from '../tensor.ts'

/** Target that takes no part in the loss. */
export const ignoredTarget = -100

/** Options of {@link linearCrossEntropy} and {@link logProbs}. */
export interface HeadOptions {
  /** Divides the logits. Default 1. */
  readonly temperature?: number
  /** Logits become cap·tanh(logit/cap); 0 leaves them. Default 0. */
  readonly softcap?: number
}

/** Options of {@link linearCrossEntropy}. */
export interface LinearCrossEntropyOptions extends HeadOptions {
  /** Weight of each target, float32 [T]; default 1. */
  readonly weights?: Tensor | undefined
}

type Attributes = Readonly<Record<string, number | boolean>>

function headAttributes(hidden: Tensor, options: HeadOptions): Attributes {
  return {
    ignoreIndex: ignoredTarget,
    temperature: options.temperature ?? 1,
    softCap: options.softcap ?? 0,
    bfloat16: hidden.device.computeDType === 'bfloat16',
  }
}

interface CrossEntropyOptions {
  readonly targets: Tensor
  readonly tokenWeights: Tensor | undefined
  readonly attributes: Attributes
}

const crossEntropyOp = defineOp<readonly [Tensor, Tensor], CrossEntropyOptions>({
  name: 'linearCrossEntropy',
  forward: ([hidden, weight], { targets, tokenWeights, attributes }, context) => {
    const needHidden = context.recording && context.needs(0)
    const needWeight = context.recording && context.needs(1)
    const outputs = hidden.device.run(
      'linearCrossEntropy',
      { hidden, weight, targets, tokenWeights },
      { ...attributes, needHidden, needWeight },
    )
    const [lossSum, correct, dHidden, dWeight] = outputs as [Tensor, Tensor, Tensor?, Tensor?]
    context.save(dHidden, dWeight)
    dHidden?.release()
    dWeight?.release()
    return [lossSum, correct]
  },
  backward: (context, [dLoss]) => {
    if (dLoss === undefined) return []
    const scaled = (gradient: Tensor | undefined): Tensor | undefined =>
      gradient === undefined ? undefined : dLoss.device.run('mul', { a: gradient, b: dLoss })[0]
    return [
      context.needs(0) ? scaled(context.savedOptional(0)) : undefined,
      context.needs(1) ? scaled(context.savedOptional(1)) : undefined,
    ]
  },
})

/**
 * Cross entropy of the head's logits without storing them: rows whose target is {@link ignoredTarget} are dropped,
 * logits exist in chunks, the gradient of `hidden` is computed in the same pass, and that of the head only when the
 * head is trained (after Wijmans et al. 2024, arXiv 2411.09009).
 *
 * @param hidden - [T, D], float32
 * @param weight - [V, D], any weight format
 * @param targets - [T], int32
 * @returns `lossSum` = Σ weight · CE in nats, [1], and `correct`, the number of targets with the largest logit, [1]
 */
export function linearCrossEntropy(
  hidden: Tensor,
  weight: Tensor,
  targets: Tensor,
  options: LinearCrossEntropyOptions = {},
): { lossSum: Tensor; correct: Tensor } {
  const attributes = headAttributes(hidden, options)
  const outputs = crossEntropyOp([hidden, weight], { targets, tokenWeights: options.weights, attributes })
  const [lossSum, correct] = outputs as [Tensor, Tensor]
  return { lossSum, correct }
}

const logProbsOp = defineOp<readonly [Tensor, Tensor], { targets: Tensor; attributes: Attributes }>({
  name: 'logProbs',
  forward: ([hidden, weight], { targets, attributes }, context) => {
    const outputs = hidden.device.run('logProbs', { hidden, weight, targets }, attributes)
    const [logProbs, logSumExp] = outputs as [Tensor, Tensor]
    context.save(hidden, weight, targets, logSumExp)
    logSumExp.release()
    return logProbs
  },
  backward: (context, [dLogProbs], { attributes }) => {
    if (dLogProbs === undefined) return []
    const inputs = {
      dLogProbs,
      hidden: context.saved(0),
      weight: context.saved(1),
      targets: context.saved(2),
      logSumExp: context.saved(3),
    }
    const needWeight = context.needs(1)
    return dLogProbs.device.run('logProbsBackward', inputs, { ...attributes, needWeight })
  },
})

/**
 * Log-probability of each target under the head, [T], in nats; 0 where the target is {@link ignoredTarget}. Logits are
 * computed in chunks and again for backward.
 *
 * @param hidden - [T, D], float32
 * @param weight - [V, D], any weight format
 * @param targets - [T], int32
 */
export function logProbs(hidden: Tensor, weight: Tensor, targets: Tensor, options: HeadOptions = {}): Tensor {
  return logProbsOp([hidden, weight], { targets, attributes: headAttributes(hidden, options) })[0] as Tensor
}
