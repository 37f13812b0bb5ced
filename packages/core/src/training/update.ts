import type { Optimizer, OptimizerState } from '@swift/spec'
import { clipGradients, gradientNorm, keep, withCategory, type Tensor } from '@swift/tensor'
import { withGradients, type Trainable } from './trainable.ts'

/** The update rule of a run with its state. */
export interface UpdateRule {
  /** The optimizer. */
  readonly optimizer: Optimizer<Record<string, unknown>, Tensor>
  /** Its options. */
  readonly options: Readonly<Record<string, unknown>>
  /** Its state by parameter. */
  readonly state: OptimizerState<Tensor>
  /** Weight decay of the parameters that decay. */
  readonly weightDecay: number
  /** Which parameters decay. */
  readonly decays: (trainable: Trainable) => boolean
  /** Largest gradient norm; 0 is none. */
  readonly maxGradNorm: number
}

type WithGradient = ReturnType<typeof withGradients>[number]

/**
 * Norm of all gradients, [1], after which they are scaled so that it is at most `maxGradNorm`. The norm stays on the
 * device; the caller releases it. Undefined when nothing has a gradient.
 */
export function clip(trainables: readonly Trainable[], maxGradNorm: number): Tensor | undefined {
  const gradients = withGradients(trainables).map(({ gradient }) => gradient)
  const [first, ...others] = gradients
  if (first === undefined) return undefined
  const norm = keep(withCategory('gradients', () => gradientNorm([first, ...others])))
  if (maxGradNorm > 0) clipGradients([first, ...others], norm, maxGradNorm)
  return norm
}

/**
 * Applies one update to every trainable that has a gradient.
 * @param learningRate - of this step; each trainable's factor multiplies it
 * @param update - number of this update, from 1
 */
export function applyUpdate(
  rule: UpdateRule,
  trainables: readonly Trainable[],
  learningRate: number,
  update: number,
): void {
  const groups = Map.groupBy(withGradients(trainables), ({ trainable }) =>
    JSON.stringify([trainable.learningRateFactor, rule.decays(trainable)]),
  )
  rule.optimizer.doStep(
    [...groups.values()].map((entries) => {
      const [{ trainable }] = entries as [WithGradient]
      return {
        entries: entries.map(({ trainable: { name, parameter }, value, gradient }) => ({
          parameter: { name, value: parameter.value, trainable: true },
          value,
          gradient,
        })),
        learningRate: learningRate * trainable.learningRateFactor,
        weightDecay: rule.decays(trainable) ? rule.weightDecay : 0,
      }
    }),
    rule.state,
    rule.options,
    update,
  )
}

/** Weight decay for matrices only: norms and biases have one axis and none (as Hugging Face's trainer). */
export function decaysMatrices({ parameter }: Trainable): boolean {
  return parameter.value.shape.length > 1
}
