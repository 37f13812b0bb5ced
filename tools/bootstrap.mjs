// Entry of every root verb. Runs on the machine's own Node (>= 18), makes sure the pinned toolchain is there, checks
// what must come from elsewhere, and hands over to tools/verbs/<verb>.ts under that toolchain.
//   node tools/bootstrap.mjs              only make the toolchain ready
//   node tools/bootstrap.mjs test [...]   ... and run tools/verbs/test.ts with the remaining arguments
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { missingPrerequisites } from './prerequisites.mjs'
import { ensureToolchain, repositoryRoot, toolchainBin, toolchainEnvironment } from './toolchain.mjs'

const [verb, ...rest] = process.argv.slice(2)

function fail(message) {
  console.error(`bootstrap: ${message}`)
  process.exit(2)
}

if (Number(process.versions.node.split('.')[0]) < 18) {
  fail(`needs Node 18 or newer to start; this is ${process.version}. Install Node 24 from https://nodejs.org.`)
}
const missing = missingPrerequisites()
if (missing.length > 0) {
  const lines = missing.map(({ name, found, fix }) => `  - ${name}: found ${found}; ${fix}`)
  fail(`this machine lacks ${missing.length === 1 ? 'a prerequisite' : 'prerequisites'}:\n${lines.join('\n')}`)
}

let versions
try {
  versions = ensureToolchain()
} catch (error) {
  fail(error instanceof Error ? error.message : String(error))
}

if (verb === undefined) {
  console.log(`toolchain ready: Node ${versions.node}, pnpm ${versions.pnpm}`)
  console.log(`for your own shell: export PATH="${toolchainBin}:$PATH"`)
} else {
  const script = join(repositoryRoot, 'tools', 'verbs', `${verb}.ts`)
  if (!existsSync(script)) fail(`there is no verb "${verb}"; the verbs are the files of tools/verbs/`)
  const result = spawnSync('node', ['--conditions=@swift/source', script, ...rest], {
    cwd: repositoryRoot,
    stdio: 'inherit',
    env: toolchainEnvironment(),
    shell: process.platform === 'win32',
  })
  process.exit(result.status ?? 1)
}
