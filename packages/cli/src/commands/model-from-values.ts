import { discoverPlugin, optionTables, SwiftModel, type SwiftConfig, type SwiftModelOptions } from '@swift/core'
import { SwiftError, type Plugin } from '@swift/spec'

type Values = Readonly<Record<string, unknown>>

/** The adapter's configuration in the shared options. */
export function tunerConfig(values: Values): SwiftConfig {
  const type = values['tunerType'] as string
  if (type === 'full') return { type }
  const target = values['targetModules'] as readonly string[]
  const config = {
    type,
    r: values['loraRank'] as number,
    loraAlpha: values['loraAlpha'] as number,
    loraDropout: values['loraDropout'] as number,
    targetModules: target.length === 1 && target[0] === 'all-linear' ? 'all-linear' : target,
    useRslora: values['useRslora'] as boolean,
    loraPlusRatio: values['loraPlusRatio'] as number,
  }
  return values['adapter'] === undefined ? config : withoutDefaults(config)
}

/** A saved adapter brings its own options: only what is asked for otherwise is passed on, and refused where it cannot be. */
function withoutDefaults(config: SwiftConfig): SwiftConfig {
  const isDefault = (name: string, value: unknown): boolean =>
    value === 'all-linear' || value === optionTables.tuner[name === 'r' ? 'loraRank' : name]?.default
  const given = Object.entries(config).filter(([name, value]) => name !== 'type' && !isDefault(name, value))
  return { type: config.type, ...Object.fromEntries(given) }
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

const copied = [
  'device',
  'dtype',
  'computeDtype',
  'loadIn4bit',
  'bnb4bitQuantType',
  'bnb4bitUseDoubleQuant',
  'adapter',
] as const

/** Loads the model that the shared options describe. */
export async function modelFromValues(values: Values, extra: Partial<SwiftModelOptions> = {}): Promise<SwiftModel> {
  const options: Record<string, unknown> = {
    plugins: await loadPlugins((values['plugins'] ?? []) as readonly string[]),
  }
  for (const name of copied) if (values[name] !== undefined) options[name] = values[name]
  return SwiftModel.fromPretrained(values['model'] as string, { ...options, ...extra } as SwiftModelOptions)
}
