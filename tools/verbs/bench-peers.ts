// `pnpm bench:peers`: installs what `pnpm bench` measures beside ours into benchmarks/peers/.venv, pinned. About 6 GB
// from PyPI; llama.cpp is compiled for this machine, which takes some minutes.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { repositoryRoot } from '../repository-root.ts'
import { runCommand } from '../run-command.ts'
import { runStages } from '../run-stages.ts'

const folder = join(repositoryRoot, 'benchmarks/peers')
const scripts = join(folder, '.venv', process.platform === 'win32' ? 'Scripts' : 'bin')
const python = process.env['PYTHON'] ?? 'python3'
// llama.cpp's best setting is the machine's own instruction set.
const environment = { CMAKE_ARGS: process.env['CMAKE_ARGS'] ?? '-DGGML_NATIVE=ON' }

process.exitCode = await runStages(
  [
    {
      name: 'virtual environment',
      run: async () => (existsSync(scripts) ? 0 : runCommand(python, ['-m', 'venv', join(folder, '.venv')])),
    },
    {
      name: 'peers',
      run: () => runCommand(join(scripts, 'pip'), ['install', '-r', join(folder, 'requirements.txt')], { environment }),
    },
  ],
  { stopAtFailure: true },
)
