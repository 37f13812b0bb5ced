// `npm run quickstart`: from a clone to a fine-tuned model and what it cost. Arguments go to the quickstart itself.
import { buildNative, installDependencies } from '../build-native.ts'
import { runCommand } from '../run-command.ts'
import { runStages } from '../run-stages.ts'

const script = ['--conditions=@swift/source', 'embedded/quickstart.ts', ...process.argv.slice(2)]

process.exitCode = await runStages(
  [
    { name: 'install', run: installDependencies },
    { name: 'native module', run: buildNative },
    { name: 'quickstart', run: () => runCommand('node', script) },
  ],
  { stopAtFailure: true },
)
