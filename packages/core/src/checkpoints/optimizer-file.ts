import { join } from 'node:path'
import { readSafetensors, writeSafetensors } from '@swift/models'
import { SwiftError, type OptimizerState } from '@swift/spec'
import { clone, keep, withCategory, type Device, type Tensor } from '@swift/tensor'

const file = 'optimizer.safetensors'

/** Writes the state of an optimizer: key `<parameter>.<state>`. Nothing is written for an optimizer without state. */
export async function writeOptimizerState(folder: string, state: OptimizerState<Tensor>): Promise<void> {
  const tensors = new Map<string, Tensor>()
  for (const [parameter, entries] of state) {
    for (const [name, tensor] of entries) tensors.set(`${parameter}.${name}`, tensor)
  }
  if (tensors.size > 0) await writeSafetensors(join(folder, file), tensors, { metadata: { format: 'pt' } })
}

/**
 * Reads the state of an optimizer, bit for bit.
 * @param parameters - names that the state may be of
 * @throws `ERR_CHECKPOINT_INVALID` for state of a parameter that is not trained now
 */
export async function readOptimizerState(
  folder: string,
  device: Device,
  parameters: ReadonlySet<string>,
): Promise<OptimizerState<Tensor>> {
  const stored = await readSafetensors(join(folder, file), device)
  const state: Map<string, Map<string, Tensor>> = new Map()
  try {
    for (const [key, tensor] of stored.tensors) {
      const dot = key.lastIndexOf('.')
      const parameter = key.slice(0, dot)
      if (!parameters.has(parameter)) throw unknownParameter(folder, parameter)
      const entries = state.get(parameter) ?? new Map<string, Tensor>()
      // A copy of its own: the file may be mapped, and the update writes in place.
      entries.set(key.slice(dot + 1), keep(withCategory('optimizer', () => clone(tensor))))
      state.set(parameter, entries)
    }
  } finally {
    stored[Symbol.dispose]()
  }
  return state
}

function unknownParameter(folder: string, parameter: string): SwiftError {
  return new SwiftError({
    code: 'ERR_CHECKPOINT_INVALID',
    asked: `Resuming from ${folder}`,
    found: `it holds optimizer state of ${parameter}, which is not trained now`,
    remedy: 'Resume with the tuner and the options of the run that wrote it',
    details: { parameter },
  })
}
