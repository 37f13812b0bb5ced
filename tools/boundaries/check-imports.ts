import { readFileSync } from 'node:fs'
import { builtinModules } from 'node:module'
import { join, posix } from 'node:path'
import ts from 'typescript'
import { mayImport } from './layers.ts'
import { isTestFile, listFiles } from './source-files.ts'
import type { Manifest, WorkspacePackage } from './workspace.ts'

/** `@scope/name/sub` → `@scope/name`; `name/sub` → `name`. */
function packageOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/')
}

function isBuiltin(specifier: string): boolean {
  return specifier.startsWith('node:') || builtinModules.includes(packageOf(specifier))
}

function isDeclared(manifest: Manifest, name: string, isTest: boolean): boolean {
  const maps = [manifest.dependencies, manifest.peerDependencies, isTest ? manifest.devDependencies : undefined]
  return maps.some((map) => map !== undefined && name in map)
}

function checkWorkspaceImport(owner: WorkspacePackage, specifier: string, path: string, isTest: boolean): string[] {
  const { manifest } = owner
  const isBundle = manifest.swift?.bundle === true
  if (isTest || mayImport(manifest.name, specifier, isBundle)) return []
  return [`${path}: ${manifest.name} may not import ${specifier}; see tools/boundaries/layers.ts for what it may`]
}

function checkSpecifier(
  owner: WorkspacePackage,
  specifier: string,
  path: string,
  exported: ReadonlyMap<string, readonly string[]>,
): string[] {
  const { folder, manifest } = owner
  const isTest = isTestFile(path)
  if (specifier.startsWith('.')) {
    const target = posix.normalize(posix.join(posix.dirname(path), specifier))
    if (isTest || target.startsWith(`${folder}/`)) return []
    return [`${path}: the relative import ${specifier} leaves the package; import the other package by its name`]
  }
  if (isBuiltin(specifier)) {
    return specifier.startsWith('node:') ? [] : [`${path}: write the built-in ${specifier} as node:${specifier}`]
  }
  const name = packageOf(specifier)
  // Test runners live at the root of the workspace, so that every package has the same one.
  if (isTest && name === 'vitest') return []
  const problems: string[] = []
  const { bundledSource } = manifest.swift ?? {}
  const isBundled = bundledSource !== undefined && path.startsWith(`${folder}/${bundledSource}/`)
  if (name !== manifest.name && !isDeclared(manifest, name, isTest || isBundled)) {
    problems.push(`${path}: imports ${name}, which the package.json of ${manifest.name} does not declare`)
  }
  const paths = exported.get(name)
  if (paths === undefined) return problems
  const subpath = specifier === name ? '.' : `.${specifier.slice(name.length)}`
  if (!paths.includes(subpath)) problems.push(`${path}: ${specifier} is not an export path of ${name}`)
  if (name !== manifest.name) problems.push(...checkWorkspaceImport(owner, specifier, path, isTest))
  return problems
}

/** Problems with what the packages import from each other and from the registry. */
export function checkImports(root: string, workspace: readonly WorkspacePackage[]): string[] {
  const exported = new Map(workspace.map(({ manifest }) => [manifest.name, Object.keys(manifest.exports ?? {})]))
  return workspace.flatMap((owner) =>
    listFiles(root, `${owner.folder}/src`, ['.ts', '.tsx']).flatMap((path) => {
      const { importedFiles } = ts.preProcessFile(readFileSync(join(root, path), 'utf8'), true, true)
      return importedFiles.flatMap(({ fileName }) => checkSpecifier(owner, fileName, path, exported))
    }),
  )
}
