import { SwiftError } from '@swift/spec'
import type { LoraOptions } from './options.ts'

/** What PEFT must be told that we do not do: any of these set makes a file one we would read wrongly. */
const unsupported: Readonly<Record<string, (value: unknown) => boolean>> = {
  use_dora: Boolean,
  lora_bias: Boolean,
  fan_in_fan_out: Boolean,
  use_qalora: Boolean,
  use_bdlora: Boolean,
  modules_to_save: (value) => Array.isArray(value) && value.length > 0,
  trainable_token_indices: (value) => value !== null && value !== undefined,
  layer_replication: (value) => value !== null && value !== undefined,
  target_parameters: (value) => Array.isArray(value) && value.length > 0,
  alora_invocation_tokens: (value) => Array.isArray(value) && value.length > 0,
  bias: (value) => value !== undefined && value !== 'none',
}

function configError(found: string, remedy: string): SwiftError {
  return new SwiftError({ code: 'ERR_ADAPTER_CONFIG', asked: 'Reading a LoRA adapter_config.json', found, remedy })
}

function layersPattern(config: Readonly<Record<string, unknown>>): readonly string[] | string {
  const target = config['target_modules']
  const layers = config['layers_to_transform']
  if (layers !== null && layers !== undefined) {
    throw configError('layers_to_transform is set', 'List the full paths of the layers in target_modules instead')
  }
  if (typeof target === 'string') return target
  if (Array.isArray(target) && target.every((entry) => typeof entry === 'string')) return target as string[]
  throw configError('target_modules is neither a string nor a list of strings', 'Save the adapter again with PEFT')
}

function numberOf(config: Readonly<Record<string, unknown>>, key: string): number {
  const value = config[key]
  if (typeof value === 'number' && Number.isFinite(value)) return value
  throw configError(`${key} is ${JSON.stringify(value)}`, `Write a number for ${key}`)
}

/** Options that a PEFT configuration states. @throws `ERR_ADAPTER_CONFIG` for features that would be read wrongly */
export function readPeftConfig(config: Readonly<Record<string, unknown>>): LoraOptions {
  if (config['peft_type'] !== 'LORA') {
    throw configError(`peft_type is ${JSON.stringify(config['peft_type'])}`, 'Use the plugin of that method')
  }
  for (const [key, isSet] of Object.entries(unsupported)) {
    if (isSet(config[key])) {
      throw configError(
        `${key} is ${JSON.stringify(config[key])}, which plain LoRA does not compute`,
        'Merge it with PEFT, or use the plugin of that method',
      )
    }
  }
  const exclude = config['exclude_modules']
  return {
    r: numberOf(config, 'r'),
    loraAlpha: numberOf(config, 'lora_alpha'),
    loraDropout: typeof config['lora_dropout'] === 'number' ? config['lora_dropout'] : 0,
    targetModules: layersPattern(config),
    ...(Array.isArray(exclude) || typeof exclude === 'string' ? { excludeModules: exclude as string[] | string } : {}),
    useRslora: config['use_rslora'] === true,
    loraPlusRatio: 1,
    rankPattern: (config['rank_pattern'] ?? {}) as Record<string, number>,
    alphaPattern: (config['alpha_pattern'] ?? {}) as Record<string, number>,
  }
}

function targetList(options: LoraOptions, paths: readonly string[]): readonly string[] | string {
  if (options.targetModules !== 'all-linear') return options.targetModules
  return [...new Set(paths.map((path) => path.slice(path.lastIndexOf('.') + 1)))].toSorted()
}

/** The minimal configuration that PEFT and serving engines read, keys sorted as PEFT sorts them. */
export function writePeftConfig(
  options: LoraOptions,
  paths: readonly string[],
  context: { readonly baseModel: string; readonly taskType: string },
): Readonly<Record<string, unknown>> {
  return {
    alpha_pattern: options.alphaPattern,
    base_model_name_or_path: context.baseModel,
    bias: 'none',
    ...(options.excludeModules === undefined ? {} : { exclude_modules: options.excludeModules }),
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    lora_alpha: options.loraAlpha,
    lora_dropout: options.loraDropout,
    modules_to_save: null,
    peft_type: 'LORA',
    r: options.r,
    rank_pattern: options.rankPattern,
    target_modules: targetList(options, paths),
    task_type: context.taskType,
    use_dora: false,
    use_rslora: options.useRslora,
  }
}
