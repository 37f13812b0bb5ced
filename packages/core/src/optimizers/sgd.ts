import type { Optimizer } from '@swift/spec'
import { sgd, type Tensor } from '@swift/tensor'

/** Plain gradient descent: no state. */
export const sgdOptimizer: Optimizer<Record<string, never>, Tensor> = {
  id: 'sgd',
  options: {},
  stateBytes: () => 0,
  doStep: (groups) => {
    for (const { entries, learningRate, weightDecay } of groups) {
      const updates = entries.map(({ value, gradient }) => ({ parameter: value, gradient }))
      sgd(updates, { learningRate, weightDecay })
    }
  },
}
