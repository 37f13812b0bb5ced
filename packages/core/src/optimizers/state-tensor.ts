import type { OptimizerState } from '@swift/spec'
import { keep, withCategory, type Tensor } from '@swift/tensor'

/**
 * The state tensors of one parameter, made by `create` at the first step. They live as long as the optimizer's state
 * and count as `optimizer` memory.
 */
export function stateOf(
  state: OptimizerState<Tensor>,
  parameter: string,
  create: () => Readonly<Record<string, Tensor>>,
): ReadonlyMap<string, Tensor> {
  const present = state.get(parameter)
  if (present !== undefined) return present
  const made = new Map(Object.entries(withCategory('optimizer', create)))
  keep([...made.values()])
  state.set(parameter, made)
  return made
}
