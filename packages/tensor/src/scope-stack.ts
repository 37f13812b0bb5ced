import type { Tensor } from './tensor.ts'

const stack: Set<Tensor>[] = []

/** Opens a scope and returns the set that collects its tensors. */
export function enterScope(): Set<Tensor> {
  const made = new Set<Tensor>()
  stack.push(made)
  return made
}

/** Closes the innermost scope and returns the one around it. */
export function leaveScope(): Set<Tensor> | undefined {
  stack.pop()
  return stack.at(-1)
}

/** The innermost open scope. */
export function currentScope(): Set<Tensor> | undefined {
  return stack.at(-1)
}
