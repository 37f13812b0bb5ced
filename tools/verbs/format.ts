// `pnpm format [paths]`: rewrite files in the repository's format; without paths, everything.
import { runCommand } from '../run-command.ts'

const paths = process.argv.slice(2)
const javascript = await runCommand('oxfmt', ['--no-error-on-unmatched-pattern', ...(paths.length > 0 ? paths : ['.'])])
const rust = paths.length > 0 ? 0 : await runCommand('cargo', ['fmt', '--all'], { folder: 'native/kernels' })
process.exitCode = javascript || rust
