/**
 * What production code of each package may import from the workspace. Imports point one way:
 * spec ← tensor, energy ← models, data ← core ← cli; energy ← dashboard ← cli. Packages of one layer do not import each other.
 */
export const allowedImports: Readonly<Record<string, readonly string[]>> = {
  '@swift/spec': [],
  '@swift/tensor': ['@swift/spec', '@swift/kernels'],
  '@swift/energy': ['@swift/spec', '@swift/kernels/meter'],
  '@swift/models': ['@swift/spec', '@swift/tensor', '@swift/energy', '@swift/kernels'],
  '@swift/data': ['@swift/spec', '@swift/tensor', '@swift/energy'],
  '@swift/core': ['@swift/spec', '@swift/tensor', '@swift/energy', '@swift/models', '@swift/data'],
  '@swift/dashboard': ['@swift/spec', '@swift/energy'],
  '@swift/testing': ['@swift/spec', '@swift/tensor', '@swift/energy', '@swift/models'],
  '@swift/kernels': [],
}

const pluginImports = ['@swift/spec', '@swift/tensor', '@swift/models', '@swift/energy']
const commandImports = [
  '@swift/spec',
  '@swift/energy',
  '@swift/models',
  '@swift/data',
  '@swift/core',
  '@swift/dashboard',
]

function isPlugin(name: string): boolean {
  return name.startsWith('@swift/plugin-')
}

/** Whether production code of package `from` may import `specifier` (a workspace package or one of its subpaths). */
export function mayImport(from: string, specifier: string, isBundle: boolean): boolean {
  if (from === '@swift/cli') return commandImports.includes(specifier) || isPlugin(specifier)
  if (isPlugin(from)) return pluginImports.includes(specifier) || (isBundle && isPlugin(specifier))
  return allowedImports[from]?.includes(specifier) ?? false
}
