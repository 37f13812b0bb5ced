// `pnpm build`: everything that is published. Native first, then every package's JavaScript and declarations.
import { buildNative, installDependencies } from '../build-native.ts'
import { checkBuiltFiles } from '../check-built-files.ts'
import { runCommand } from '../run-command.ts'
import { runStages } from '../run-stages.ts'

process.exitCode = await runStages(
  [
    { name: 'install', run: installDependencies },
    { name: 'native module', run: buildNative },
    {
      name: 'packages',
      run: () => runCommand('nx', ['run-many', '-t', 'build', '--exclude=@swift/kernels', '--output-style=static']),
    },
    { name: 'exported files exist', run: checkBuiltFiles },
  ],
  { stopAtFailure: true },
)
