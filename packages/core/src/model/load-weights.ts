import { readSafetensors, type CausalLM } from '@swift/models'
import { SwiftError } from '@swift/spec'
import { clone, withCategory } from '@swift/tensor'

/**
 * Replaces every trained weight by that of a checkpoint, bit for bit.
 * @throws `ERR_CHECKPOINT_INVALID` when one is missing or has another shape or dtype
 */
export async function loadWeights(model: CausalLM, folder: string): Promise<void> {
  const stored = await readSafetensors(folder, model.device)
  try {
    for (const parameter of model.parameters()) {
      if (!parameter.trainable) continue
      const tensor = stored.tensors.get(parameter.name)
      const { shape, dtype } = parameter.value
      if (tensor === undefined || tensor.shape.join() !== shape.join() || tensor.dtype !== dtype) {
        throw new SwiftError({
          code: 'ERR_CHECKPOINT_INVALID',
          asked: `Resuming from ${folder}`,
          found: `${parameter.name} is ${tensor === undefined ? 'missing' : `${tensor.dtype}[${tensor.shape.join(', ')}]`}, not ${dtype}[${shape.join(', ')}]`,
          remedy: 'Resume with the model of the run that wrote it',
        })
      }
      parameter.replace(withCategory('weights', () => clone(tensor)))
    }
  } finally {
    stored[Symbol.dispose]()
  }
}
