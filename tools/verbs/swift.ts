// `npm run swift -- <command> …`: the swift command from the sources of this checkout.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { repositoryRoot } from '../repository-root.ts'

if (existsSync(join(repositoryRoot, 'node_modules', '@swift', 'cli'))) {
  const { main } = await import('@swift/cli')
  process.exitCode = await main(process.argv.slice(2))
} else {
  console.error('swift: this checkout is not set up yet; run `npm run native` once (it installs and builds)')
  process.exitCode = 2
}
