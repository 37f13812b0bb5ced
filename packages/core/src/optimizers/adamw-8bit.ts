import type { Optimizer } from '@swift/spec'
import { adamW8bit, optimizerStateBlock, zeros, type AdamW8bitEntry, type Tensor } from '@swift/tensor'
import { adamOptions, type AdamOptions } from './adamw.ts'
import { stateOf } from './state-tensor.ts'

/** Code of 0 in the signed and in the unsigned dynamic map. */
const signedZeroCode = 127
const unsignedZeroCode = 0

/** AdamW with block-wise 8-bit moments (arXiv 2110.02861): a quarter of the state of {@link adamwOptimizer}. */
export const adamw8bitOptimizer: Optimizer<AdamOptions, Tensor> = {
  id: 'adamw_8bit',
  options: adamOptions,
  stateBytes: (elements) => 2 * elements + 8 * Math.ceil(elements / optimizerStateBlock),
  doStep: (groups, state, { beta1, beta2, epsilon }, step) => {
    for (const { entries, learningRate, weightDecay } of groups) {
      const updates = entries.map(({ parameter, value, gradient }): AdamW8bitEntry => {
        const codes = (code: number): Tensor =>
          value.device.tensor(new Uint8Array(value.elements).fill(code), value.shape)
        const scales = (): Tensor => zeros(value.device, [Math.ceil(value.elements / optimizerStateBlock)])
        const moments = stateOf(state, parameter.name, () => ({
          exp_avg: codes(signedZeroCode),
          exp_avg_scale: scales(),
          exp_avg_sq: codes(unsignedZeroCode),
          exp_avg_sq_scale: scales(),
        }))
        const moment = (name: string): Tensor => moments.get(name) as Tensor
        return {
          parameter: value,
          gradient,
          firstCodes: moment('exp_avg'),
          firstScales: moment('exp_avg_scale'),
          secondCodes: moment('exp_avg_sq'),
          secondScales: moment('exp_avg_sq_scale'),
        }
      })
      adamW8bit(updates, { learningRate, beta1, beta2, epsilon, weightDecay, step })
    }
  },
}
