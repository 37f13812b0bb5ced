import { SwiftError } from '@swift/spec'
import type { OptionValues } from './parse-options.ts'
import { unknownOption } from './parse-options.ts'

/** Plugin that provides each kind of parallel group. */
const parallelPlugins: Readonly<Record<string, string>> = {
  tensorModelParallelSize: '@swift/plugin-megatron',
  pipelineModelParallelSize: '@swift/plugin-megatron',
  expertModelParallelSize: '@swift/plugin-megatron',
  expertTensorParallelSize: '@swift/plugin-megatron',
  contextParallelSize: '@swift/plugin-sequence-parallel',
}

function needsPlugin(option: string, value: unknown, plugin: string): SwiftError {
  return new SwiftError({
    code: 'ERR_PLUGIN_REQUIREMENT',
    asked: `TrainerArguments: ${option} = ${JSON.stringify(value)}`,
    found: `this run is one process, and ${plugin}, which provides more, is not registered`,
    remedy: `Install and register ${plugin}, or leave ${option} at 1`,
    details: { option, plugin },
  })
}

/**
 * Refuses values of the parallel and attention options that nothing here provides, so that none is ignored.
 * @throws `ERR_PLUGIN_REQUIREMENT`, `ERR_OPTION_INVALID`, `ERR_OPTION_UNKNOWN`
 */
export function refuseUnbuilt(values: OptionValues): void {
  if (values['useFlashAttention'] === false) {
    throw new SwiftError({
      code: 'ERR_OPTION_INVALID',
      asked: 'TrainerArguments: useFlashAttention = false',
      found: 'attention in O(S) memory is the only kernel there is',
      remedy: 'Leave useFlashAttention out',
    })
  }
  const size = values['sequenceParallelSize']
  if (typeof size === 'number' && size > 1)
    throw needsPlugin('sequenceParallelSize', size, '@swift/plugin-sequence-parallel')
  for (const [name, value] of Object.entries((values['parallel'] ?? {}) as OptionValues)) {
    if (value === undefined) continue
    const plugin = parallelPlugins[name]
    if (plugin === undefined) throw unknownOption('TrainerArguments.parallel', name, Object.keys(parallelPlugins))
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < 1) {
      throw new SwiftError({
        code: 'ERR_OPTION_INVALID',
        asked: `TrainerArguments: parallel.${name} = ${JSON.stringify(value)}`,
        found: 'a group size is a whole number of at least 1',
        remedy: 'Use 1 for no group',
      })
    }
    if (value > 1) throw needsPlugin(`parallel.${name}`, value, plugin)
  }
}
