import { SwiftError } from '@swift/spec'
import { Tensor } from './tensor.ts'
import { enterScope, leaveScope } from './scope-stack.ts'

function collect(value: unknown, kept: Set<Tensor>, depth: number): void {
  if (value instanceof Tensor) kept.add(value)
  else if (depth > 0 && Array.isArray(value)) for (const entry of value) collect(entry, kept, depth - 1)
  else if (
    depth > 0 &&
    typeof value === 'object' &&
    value !== null &&
    Object.getPrototypeOf(value) === Object.prototype
  )
    for (const entry of Object.values(value)) collect(entry, kept, depth - 1)
}

/**
 * Runs `body` and releases every tensor made inside it, except those in what it returns (a tensor, or arrays and
 * plain objects of them, three levels deep), which pass to the enclosing scope.
 *
 * `body` must be synchronous: lifetimes are lexical. Read values after the scope, from a returned tensor.
 * @throws `ERR_ASYNC_SCOPE` when `body` returns a promise
 */
export function scope<T>(body: () => T): T {
  const made = enterScope()
  let kept: Set<Tensor> | undefined
  try {
    const result = body()
    if (result instanceof Promise) {
      throw new SwiftError({
        code: 'ERR_ASYNC_SCOPE',
        asked: 'A scope',
        found: 'its body returned a promise, so the end of the tensors’ lives would depend on timing',
        remedy: 'Return the tensors from a synchronous scope and await their values outside it',
      })
    }
    kept = new Set()
    collect(result, kept, 3)
    return result
  } finally {
    const parent = leaveScope()
    for (const tensor of kept ?? []) {
      if (made.delete(tensor)) parent?.add(tensor)
    }
    Tensor.releaseAll(made)
  }
}

/** Takes tensors out of the current scope: the caller owns them now and must release them. */
export function keep<T extends Tensor | readonly Tensor[]>(tensors: T): T {
  for (const tensor of tensors instanceof Tensor ? [tensors] : (tensors as readonly Tensor[])) tensor.detachFromScope()
  return tensors
}
