// `pnpm native`: install and build the native module.
import { buildNative, installDependencies } from '../build-native.ts'
import { runStages } from '../run-stages.ts'

process.exitCode = await runStages(
  [
    { name: 'install', run: installDependencies },
    { name: 'native module', run: buildNative },
  ],
  { stopAtFailure: true },
)
