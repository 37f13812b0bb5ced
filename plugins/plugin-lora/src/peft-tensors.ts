import { SwiftError, type AdapterFile, type AttachedAdapter } from '@swift/spec'
import { cast, clone, withCategory, type Parameter, type Tensor } from '@swift/tensor'
import { asLora } from './attach.ts'

const prefix = 'base_model.model.'

/** Tensors of all layers by PEFT key: `base_model.model.<path>.lora_A.weight`. They are the live parameters, not copies. */
export function peftTensors(attached: ReadonlyMap<string, AttachedAdapter<Tensor>>): ReadonlyMap<string, Tensor> {
  const tensors = new Map<string, Tensor>()
  for (const [path, adapter] of attached) {
    const { a, b } = asLora(adapter)
    tensors.set(`${prefix}${path}.lora_A.weight`, a.value)
    tensors.set(`${prefix}${path}.lora_B.weight`, b.value)
  }
  return tensors
}

/** Copies a file's tensors into attached layers. @throws `ERR_ADAPTER_TENSORS` for missing, extra or misshapen tensors */
export function loadPeftTensors(
  file: AdapterFile<Tensor>,
  attached: ReadonlyMap<string, AttachedAdapter<Tensor>>,
): void {
  const expected = new Map<string, Parameter>(
    [...attached].flatMap(([path, adapter]) => {
      const { a, b } = asLora(adapter)
      return [[`${prefix}${path}.lora_A.weight`, a] as const, [`${prefix}${path}.lora_B.weight`, b] as const]
    }),
  )
  const missing = [...expected.keys()].filter((key) => !file.tensors.has(key))
  const extra = [...file.tensors.keys()].filter((key) => !expected.has(key))
  const misshapen = [...expected].flatMap(([key, parameter]) => {
    const shape = file.tensors.get(key)?.shape
    if (shape === undefined || shape.join() === parameter.value.shape.join()) return []
    return [`${key} is [${shape.join(', ')}], the layer needs [${parameter.value.shape.join(', ')}]`]
  })
  if (missing.length + extra.length + misshapen.length > 0) throw mismatch(missing, extra, misshapen)
  for (const [key, parameter] of expected) {
    const tensor = file.tensors.get(key) as Tensor
    parameter.replace(
      withCategory('adapter', () => (tensor.dtype === 'float32' ? clone(tensor) : cast(tensor, 'float32'))),
    )
  }
}

function mismatch(missing: readonly string[], extra: readonly string[], misshapen: readonly string[]): SwiftError {
  const list = (label: string, entries: readonly string[]): string[] =>
    entries.length === 0
      ? []
      : [`${label}: ${entries.slice(0, 3).join('; ')}${entries.length > 3 ? ` and ${entries.length - 3} more` : ''}`]
  return new SwiftError({
    code: 'ERR_ADAPTER_TENSORS',
    asked: 'Loading the tensors of a LoRA adapter',
    found: [...list('missing', missing), ...list('not in the model', extra), ...list('wrong shape', misshapen)].join(
      ' · ',
    ),
    remedy: 'Check that the adapter was trained on this base model',
    details: { missing, extra, misshapen },
  })
}
