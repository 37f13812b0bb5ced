// What cannot come from the npm registry: a Rust toolchain and a C/C++ compiler with its linker.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

/** The oldest Rust the native workspace builds with, from its own manifest so that there is one statement of it. */
function minimumRust() {
  const manifest = readFileSync(new URL('../native/kernels/Cargo.toml', import.meta.url), 'utf8')
  const match = /^rust-version = "(\d+)\.(\d+)/m.exec(manifest)
  if (!match) throw new Error('native/kernels/Cargo.toml states no rust-version; add `rust-version = "…"`')
  return [Number(match[1]), Number(match[2])]
}

function versionOf(command, args = ['--version']) {
  const result = spawnSync(command, args, { encoding: 'utf8', shell: process.platform === 'win32' })
  return result.status === 0 ? result.stdout.trim() : undefined
}

function compilerFix() {
  if (process.platform === 'darwin') return 'run `xcode-select --install`'
  if (process.platform === 'win32') return 'install the "Desktop development with C++" workload of Visual Studio'
  return 'install your C++ toolchain: `apt-get install build-essential`, `dnf install gcc-c++ make` or `apk add build-base`'
}

function rustProblem() {
  const rustc = versionOf('rustc')
  const fix = 'install Rust from https://rustup.rs (`curl --proto "=https" --tlsv1.2 -sSf https://sh.rustup.rs | sh`)'
  if (!rustc || !versionOf('cargo')) return { name: 'Rust (cargo and rustc)', found: 'none on PATH', fix }
  const match = /(\d+)\.(\d+)/.exec(rustc)
  const [major, minor] = [Number(match?.[1]), Number(match?.[2])]
  const [neededMajor, neededMinor] = minimumRust()
  if (major > neededMajor || (major === neededMajor && minor >= neededMinor)) return undefined
  return { name: `Rust >= ${neededMajor}.${neededMinor}`, found: rustc, fix: '`rustup update stable`' }
}

function compilerProblem() {
  if (process.platform === 'win32') return undefined // rustc itself looks for Visual Studio and names what it lacks
  const candidates = [process.env.CXX, 'c++', 'g++', 'clang++'].filter(Boolean)
  if (candidates.some((command) => versionOf(command))) return undefined
  return { name: 'C++ compiler and linker', found: `none of ${candidates.join(', ')} on PATH`, fix: compilerFix() }
}

/** Everything that is missing, each with what was found and what to do; an empty list when the machine is ready. */
export function missingPrerequisites() {
  return [rustProblem(), compilerProblem()].filter((problem) => problem !== undefined)
}
