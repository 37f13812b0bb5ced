import { runtime } from './runtime.ts'

/** What memory is used for; the plan itemises a peak by these. */
export type MemoryCategory =
  | 'other'
  | 'weights'
  | 'adapter'
  | 'optimizer'
  | 'gradients'
  | 'activations'
  | 'data'
  | 'cache'

/** Categories by code. */
export const memoryCategories: readonly MemoryCategory[] = [
  'other',
  'weights',
  'adapter',
  'optimizer',
  'gradients',
  'activations',
  'data',
  'cache',
]

let current = 0

/** Runs `body` with its allocations accounted under `category`. Does not extend past an `await`. */
export function withCategory<T>(category: MemoryCategory, body: () => T): T {
  const previous = current
  current = memoryCategories.indexOf(category)
  runtime().setCategory(current)
  try {
    return body()
  } finally {
    current = previous
    runtime().setCategory(previous)
  }
}
