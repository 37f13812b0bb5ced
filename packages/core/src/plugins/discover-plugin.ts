import { findPackageJSON } from 'node:module'
import { readFile } from 'node:fs/promises'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { SwiftError, type Plugin } from '@swift/spec'

function isPlugin(value: unknown): value is Plugin {
  return typeof value === 'object' && value !== null && 'specVersion' in value && 'id' in value && 'provides' in value
}

/** Every plugin a module exports, alone or in lists, each once. */
function pluginsOf(module: Readonly<Record<string, unknown>>): Plugin[] {
  return [
    ...new Set(
      Object.values(module)
        .flatMap((value) => (Array.isArray(value) ? value : [value]))
        .filter(isPlugin),
    ),
  ]
}

/** Whether importing `name` failed because `name` itself is not there, rather than something it imports. */
function isMissing(error: unknown, name: string): boolean {
  if (typeof error !== 'object' || error === null) return false
  const { code, message } = error as { readonly code?: unknown; readonly message?: unknown }
  const absent =
    code === 'ERR_MODULE_NOT_FOUND' ||
    code === 'ERR_RESOLVE_FAILED' ||
    /Cannot find (module|package)|Failed to (load|resolve)/.test(String(message))
  return absent && String(message).includes(name)
}

type ExportTarget = string | { readonly [condition: string]: ExportTarget } | null | undefined

/** The file an `exports` entry names for `import` under Node's conditions and those given to this process. */
function pickTarget(target: ExportTarget): string | undefined {
  if (typeof target !== 'object' || target === null) return target ?? undefined
  const given = [...process.execArgv, process.env['NODE_OPTIONS'] ?? '']
    .join(' ')
    .matchAll(/(?:--conditions|-C)[= ](\S+)/g)
  const active = new Set(['node', 'import', 'module-sync', 'default', ...Array.from(given, (match) => match[1])])
  for (const [condition, inner] of Object.entries(target)) {
    const picked = active.has(condition) ? pickTarget(inner) : undefined
    if (picked !== undefined) return picked
  }
  return undefined
}

/** Finds the package from the working folder: a strict package manager does not show it to this package. */
async function entryFromWorkingFolder(name: string): Promise<string | undefined> {
  const manifestPath = findPackageJSON(name, pathToFileURL(join(process.cwd(), 'index.js')))
  if (manifestPath === undefined) return undefined
  const manifest = JSON.parse(await readFile(manifestPath, 'utf8')) as {
    exports?: Record<string, ExportTarget>
    main?: string
  }
  const entry = pickTarget(manifest.exports?.['.']) ?? manifest.main
  return entry === undefined ? undefined : pathToFileURL(join(dirname(manifestPath), entry)).href
}

async function importModule(name: string): Promise<Readonly<Record<string, unknown>> | undefined> {
  if (name.startsWith('.') || isAbsolute(name)) {
    return (await import(/* @vite-ignore */ pathToFileURL(resolve(name)).href)) as Record<string, unknown>
  }
  try {
    return (await import(/* @vite-ignore */ name)) as Record<string, unknown>
  } catch (error) {
    if (!isMissing(error, name)) throw error
  }
  const entry = await entryFromWorkingFolder(name).catch(() => undefined)
  return entry === undefined ? undefined : ((await import(/* @vite-ignore */ entry)) as Record<string, unknown>)
}

/**
 * Imports a plugin package, or a module by path, and returns the plugins it exports; an empty list when the package
 * is not installed.
 * @throws `ERR_PLUGIN_LOAD` when it is there but cannot be imported or exports no plugin
 */
export async function discoverPlugin(name: string): Promise<readonly Plugin[]> {
  let module: Readonly<Record<string, unknown>> | undefined
  try {
    module = await importModule(name)
  } catch (cause) {
    throw new SwiftError({
      code: 'ERR_PLUGIN_LOAD',
      asked: `Importing the plugin ${name}`,
      found: cause instanceof Error ? cause.message : String(cause),
      remedy: 'Check that its version fits this package, or remove it',
      cause,
    })
  }
  if (module === undefined) return []
  const plugins = pluginsOf(module)
  if (plugins.length > 0) return plugins
  throw new SwiftError({
    code: 'ERR_PLUGIN_LOAD',
    asked: `Importing the plugin ${name}`,
    found: 'it exports nothing made by definePlugin',
    remedy: 'Export the plugin, by any name or as default',
  })
}
