import { existsSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import type { CpuWatch } from './cpu-watch.ts'
import { LineChild } from './line-child.ts'

const folder = new URL('../peers/', import.meta.url)
const python = fileURLToPath(
  new URL(process.platform === 'win32' ? '.venv/Scripts/python.exe' : '.venv/bin/python', folder),
)

/** Why peers cannot be measured; undefined when they are installed. */
export function peersMissing(): string | undefined {
  return existsSync(python) ? undefined : `peers are not installed (${python} is missing): run \`pnpm bench:peers\``
}

/** Environment of peers: as many threads as cores, nothing from the network, no overrides of their libraries' choices. */
export function peerEnvironment(threads: number = availableParallelism()): NodeJS.ProcessEnv {
  const { OPENBLAS_CORETYPE: _core, OPENBLAS_L2_SIZE: _cache, ...environment } = process.env
  const count = String(threads)
  return { ...environment, OMP_NUM_THREADS: count, MKL_NUM_THREADS: count, HF_HUB_OFFLINE: '1', PYTHONUNBUFFERED: '1' }
}

/** How a script of `benchmarks/peers` is run. */
export function peerCommand(
  script: string,
  threads?: number,
): { readonly command: string; readonly script: string; readonly env: NodeJS.ProcessEnv } {
  return { command: python, script: fileURLToPath(new URL(script, folder)), env: peerEnvironment(threads) }
}

/** Starts a script of `benchmarks/peers`. */
export function startPeer(
  script: string,
  scriptArguments: readonly string[],
  watch: CpuWatch,
  threads?: number,
): LineChild {
  const { command, script: path, env } = peerCommand(script, threads)
  return new LineChild(command, [path, ...scriptArguments], watch, { env })
}
