// `pnpm bench:peers`: installs what `pnpm bench` measures beside ours into benchmarks/peers/.venv, pinned. About 6 GB
// from PyPI; llama.cpp is compiled for this machine, which takes some minutes. `pnpm bench:peers ledger` installs the energy
// tools alone, 500 MB on disk, into benchmarks/peers/ledger/.venv.
import { existsSync } from 'node:fs'
import { join, relative } from 'node:path'
import { repositoryRoot } from '../repository-root.ts'
import { runCommand } from '../run-command.ts'
import { runStages } from '../run-stages.ts'

const [only, ...more] = process.argv.slice(2)
if ((only !== undefined && only !== 'ledger') || more.length > 0) {
  console.error(`bench:peers takes nothing, or ledger; not ${process.argv.slice(2).join(' ')}`)
  process.exit(2)
}
const peers = join(repositoryRoot, 'benchmarks/peers')
const folders = only === undefined ? [peers, join(peers, 'ledger')] : [join(peers, only)]
const python = process.env['PYTHON'] ?? 'python3'
// llama.cpp's best setting is the machine's own instruction set.
const environment = { CMAKE_ARGS: process.env['CMAKE_ARGS'] ?? '-DGGML_NATIVE=ON' }

process.exitCode = await runStages(
  folders.flatMap((folder) => {
    const scripts = join(folder, '.venv', process.platform === 'win32' ? 'Scripts' : 'bin')
    const name = relative(peers, folder) || 'all others'
    return [
      {
        name: `virtual environment, ${name}`,
        run: async () => (existsSync(scripts) ? 0 : runCommand(python, ['-m', 'venv', join(folder, '.venv')])),
      },
      {
        name: `peers, ${name}`,
        run: () =>
          runCommand(join(scripts, 'pip'), ['install', '-r', join(folder, 'requirements.txt')], { environment }),
      },
    ]
  }),
  { stopAtFailure: true },
)
