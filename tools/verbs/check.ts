// `pnpm check`: everything that needs no test run: format, lint, types, boundaries, links, clippy.
import { installDependencies } from '../build-native.ts'
import { runCommand } from '../run-command.ts'
import { runStages } from '../run-stages.ts'

const crates = 'native/kernels'

const clippy = (...selection: readonly string[]): Promise<number> =>
  runCommand('cargo', ['clippy', ...selection, '-j', '2', '--', '-D', 'warnings'], { folder: crates })

process.exitCode =
  (await installDependencies()) ||
  (await runStages([
    { name: 'format: TypeScript, JSON, YAML', run: () => runCommand('oxfmt', ['--check', '.']) },
    { name: 'format: Rust', run: () => runCommand('cargo', ['fmt', '--all', '--check'], { folder: crates }) },
    { name: 'lint', run: () => runCommand('oxlint', ['--deny-warnings']) },
    { name: 'types', run: () => runCommand('tsc', ['-p', 'tsconfig.json']) },
    // What runs in a browser is checked against a browser's library.
    { name: 'types of the page', run: () => runCommand('tsc', ['-p', 'packages/dashboard/tsconfig.page.json']) },
    { name: 'boundaries', run: () => runCommand('node', ['tools/check-boundaries.ts']) },
    { name: 'links', run: () => runCommand('node', ['tools/check-links.ts']) },
    { name: 'clippy', run: () => clippy('--workspace', '--exclude', 'swift-node', '--all-targets') },
    // Built as a test the binding registers nothing with Node, so that all of it would look dead.
    { name: 'clippy: the binding', run: () => clippy('-p', 'swift-node') },
  ]))
