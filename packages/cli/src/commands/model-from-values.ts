import { discoverPlugin, SwiftModel, type SwiftConfig, type SwiftModelOptions } from '@swift/core'
import { SwiftError, type Plugin } from '@swift/spec'

type Values = Readonly<Record<string, unknown>>

/** The adapter's configuration in the shared options. */
export function tunerConfig(values: Values): SwiftConfig {
  const type = values['tunerType'] as string
  if (type === 'full') return { type }
  const target = values['targetModules'] as readonly string[]
  return {
    type,
    r: values['loraRank'] as number,
    loraAlpha: values['loraAlpha'] as number,
    loraDropout: values['loraDropout'] as number,
    targetModules: target.length === 1 && target[0] === 'all-linear' ? 'all-linear' : target,
    useRslora: values['useRslora'] as boolean,
    loraPlusRatio: values['loraPlusRatio'] as number,
  }
}

async function loadPlugins(names: readonly string[]): Promise<Plugin[]> {
  const lists = await Promise.all(
    names.map(async (name) => {
      const found = await discoverPlugin(name)
      if (found.length > 0) return found
      throw new SwiftError({
        code: 'ERR_PLUGIN_MISSING',
        asked: `--plugins ${name}`,
        found: 'no such package or module',
        remedy: `npm i ${name}, or write the path of a module`,
      })
    }),
  )
  return lists.flat()
}

const copied = ['device', 'dtype', 'computeDtype', 'loadIn4bit', 'bnb4bitQuantType', 'bnb4bitUseDoubleQuant', 'adapter'] as const

/** Loads the model that the shared options describe. */
export async function modelFromValues(values: Values, extra: Partial<SwiftModelOptions> = {}): Promise<SwiftModel> {
  const options: Record<string, unknown> = { plugins: await loadPlugins((values['plugins'] ?? []) as readonly string[]) }
  for (const name of copied) if (values[name] !== undefined) options[name] = values[name]
  return SwiftModel.fromPretrained(values['model'] as string, { ...options, ...extra } as SwiftModelOptions)
}
