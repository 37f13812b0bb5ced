import type { ParameterHandle } from '../../model/v1/index.ts'
import type { OptionTable } from '../../options/v1/index.ts'
import type { TensorHandle } from '../../tensor/v1/index.ts'

/** Parameters that share hyperparameters. */
export interface ParameterGroup<Tensor extends TensorHandle = TensorHandle> {
  /** The parameters with their gradients. */
  readonly entries: readonly {
    /** Its name and place in the model. */
    readonly parameter: ParameterHandle
    /** Values, float32, changed in place. */
    readonly value: Tensor
    /** Gradient of the loss, float32, of the same shape. */
    readonly gradient: Tensor
  }[]
  /** Learning rate of this step. */
  readonly learningRate: number
  /** Decoupled weight decay. */
  readonly weightDecay: number
}

/** State tensors of one parameter by name, e.g. `exp_avg`. */
export type OptimizerState<Tensor extends TensorHandle = TensorHandle> = Map<string, ReadonlyMap<string, Tensor>>

/** An optimizer: an update rule with named state. */
export interface Optimizer<Options = Readonly<Record<string, unknown>>, Tensor extends TensorHandle = TensorHandle> {
  /** Unique id, e.g. `adamw`. */
  readonly id: string
  /** Options with types, defaults and meaning. */
  readonly options: OptionTable
  /** Bytes of state for a parameter of `elements` elements; the plan uses it. */
  stateBytes(elements: number, options: Options): number
  /**
   * Updates every parameter in place and its state, creating state at the first step.
   * @param step - 1 for the first update
   */
  doStep(groups: readonly ParameterGroup<Tensor>[], state: OptimizerState<Tensor>, options: Options, step: number): void
}
