// `pnpm bench SUITE [--json FILE] [options]`: measures beside peers and limits; without a suite it lists them.
import { buildNative, installDependencies } from '../build-native.ts'
import { runCommand } from '../run-command.ts'
import { runStages } from '../run-stages.ts'

const script = ['--conditions=@swift/source', 'benchmarks/bench.ts', ...process.argv.slice(2)]

process.exitCode = await runStages(
  [
    { name: 'install', run: installDependencies },
    { name: 'native module', run: buildNative },
    { name: 'bench', run: () => runCommand('node', script) },
  ],
  { stopAtFailure: true },
)
