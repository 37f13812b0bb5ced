import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { SwiftError, type Quantizer } from '@swift/spec'
import type { Tensor } from '@swift/tensor'
import { parseOptions } from '../options/parse-options.ts'
import type { PluginRegistry } from '../plugins/plugin-registry.ts'
import { wantsFourBit, type Tuner } from './resolve-tuner.ts'
import type { SwiftModelOptions } from './swift-model-options.ts'

/** A quantizer with its validated options. */
export interface ChosenQuantizer {
  /** The quantizer. */
  readonly quantizer: Quantizer<Readonly<Record<string, unknown>>, Tensor>
  /** Its options. */
  readonly options: Readonly<Record<string, unknown>>
  /** Whether the checkpoint holds its weights already. */
  readonly isStored: boolean
}

/** `quant_method` of a checkpoint → quantizer id, where they differ. */
const methodIds: Readonly<Record<string, string>> = { bitsandbytes: 'bnb' }

/** The quantizer whose layout a checkpoint is stored in. */
async function storedQuantizer(registry: PluginRegistry, folder: string): Promise<ChosenQuantizer | undefined> {
  const text = await readFile(join(folder, 'config.json'), 'utf8').catch(() => '{}')
  let config: unknown
  try {
    config = (JSON.parse(text) as { quantization_config?: unknown }).quantization_config
  } catch {
    // Reading the checkpoint reports a config.json that is not JSON.
    return undefined
  }
  if (typeof config !== 'object' || config === null || !('quant_method' in config)) return undefined
  const method = String(config.quant_method)
  const quantizer = await registry.quantizer(methodIds[method] ?? method)
  const options = quantizer.doReadConfig?.(config as unknown as Record<string, unknown>)
  return options === undefined ? undefined : { quantizer, options, isStored: true }
}

/**
 * The quantizer that loading needs, if any.
 * @throws `ERR_QUANTIZER_UNKNOWN`, `ERR_OPTION_INVALID`
 */
export async function resolveQuantizer(
  registry: PluginRegistry,
  folder: string,
  options: SwiftModelOptions,
  tuner: Tuner,
): Promise<ChosenQuantizer | undefined> {
  const stored = await storedQuantizer(registry, folder)
  if (stored !== undefined) return stored
  if (!(options.loadIn4bit ?? wantsFourBit(options.config))) return undefined
  if (tuner.kind === 'full') {
    throw new SwiftError({
      code: 'ERR_OPTION_INVALID',
      asked: 'Full fine-tuning with loadIn4bit',
      found: '4-bit weights cannot be trained',
      remedy: "Use config: { type: 'qlora' }, or leave loadIn4bit out",
    })
  }
  const quantizer = await registry.quantizer('bnb')
  const { bnb4bitQuantType, bnb4bitUseDoubleQuant } = options
  const parsed = parseOptions(`The quantizer ${quantizer.id}`, quantizer.options, {
    bnb4bitQuantType,
    bnb4bitUseDoubleQuant,
  })
  return { quantizer, options: parsed, isStored: false }
}
