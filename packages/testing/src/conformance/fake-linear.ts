import type { AdapterContext, LinearLayer, LowRankBranch } from '@swift/spec'
import { linear, normal, Parameter, type Device, type Tensor } from '@swift/tensor'

/** A linear layer of its own, for suites. */
export interface FakeLinear {
  readonly layer: LinearLayer
  readonly context: AdapterContext<Tensor>
  readonly weight: Parameter
  /** Sets whether the layer is training. */
  setTraining(training: boolean): void
  dispose(): void
}

/** A layer [N, K] with a normal float32 weight. */
export function fakeLinear(
  device: Device,
  shape: readonly [number, number],
  options: { readonly path?: string; readonly seed?: number; readonly index?: number } = {},
): FakeLinear {
  const path = options.path ?? 'model.layers.0.self_attn.q_proj'
  const weight = new Parameter(`${path}.weight`, normal(device, shape, { seed: 17, std: 0.3 }))
  let training = true
  const context: AdapterContext<Tensor> = {
    seed: options.seed ?? 42,
    index: options.index ?? 0,
    isTraining: () => training,
    base: (x: Tensor, branch?: LowRankBranch<Tensor>) =>
      linear(x, weight.value, branch === undefined ? {} : { branch: { ...branch, seed: 99 } }),
  }
  return {
    layer: { path, inFeatures: shape[1], outFeatures: shape[0], weight, bias: undefined },
    context,
    weight,
    setTraining: (value) => {
      training = value
    },
    dispose: () => weight[Symbol.dispose](),
  }
}
