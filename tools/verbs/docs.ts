// `pnpm docs`: the reference site of every package into docs/api. An undocumented export of spec or core fails it.
import { installDependencies } from '../build-native.ts'
import { runCommand } from '../run-command.ts'

process.exitCode = (await installDependencies()) || (await runCommand('typedoc', []))
