import type { Optimizer } from '@swift/spec'
import { adamW, zeros, type AdamWEntry, type Tensor } from '@swift/tensor'
import { stateOf } from './state-tensor.ts'

/** Options shared by the Adam optimizers. */
export interface AdamOptions {
  /** Decay of the first moment. */
  readonly beta1: number
  /** Decay of the second moment. */
  readonly beta2: number
  /** Added to the root of the second moment. */
  readonly epsilon: number
}

/** Option table of {@link AdamOptions}. */
export const adamOptions: Optimizer['options'] = {
  beta1: { type: 'number', default: 0.9, minimum: 0, maximum: 0.9999999, description: 'Decay of the first moment.' },
  beta2: { type: 'number', default: 0.95, minimum: 0, maximum: 0.9999999, description: 'Decay of the second moment.' },
  epsilon: { type: 'number', default: 1e-8, minimum: 0, description: 'Added to the root of the second moment.' },
}

/** AdamW (arXiv 1711.05101) as `torch.optim.AdamW` computes it, with float32 moments. */
export const adamwOptimizer: Optimizer<AdamOptions, Tensor> = {
  id: 'adamw',
  options: adamOptions,
  stateBytes: (elements) => 8 * elements,
  doStep: (groups, state, { beta1, beta2, epsilon }, step) => {
    for (const { entries, learningRate, weightDecay } of groups) {
      const updates = entries.map(({ parameter, value, gradient }): AdamWEntry => {
        const moments = stateOf(state, parameter.name, () => ({
          exp_avg: zeros(value.device, value.shape),
          exp_avg_sq: zeros(value.device, value.shape),
        }))
        return {
          parameter: value,
          gradient,
          firstMoment: moments.get('exp_avg') as Tensor,
          secondMoment: moments.get('exp_avg_sq') as Tensor,
        }
      })
      adamW(updates, { learningRate, beta1, beta2, epsilon, weightDecay, step })
    }
  },
}
