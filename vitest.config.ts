import { existsSync, readFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { defineConfig, type TestProjectInlineConfiguration, type ViteUserConfig } from 'vitest/config'

const root = fileURLToPath(new URL('.', import.meta.url))

/** Read the workspace's own packages from source, so that tests need no build of TypeScript. */
const conditions = ['@swift/source', 'module', 'node', 'development|production']

function project(folder: string, name: string): TestProjectInlineConfiguration {
  return {
    extends: true,
    resolve: { conditions },
    ssr: { resolve: { conditions, externalConditions: conditions } },
    test: { name, root: join(root, folder), include: ['**/*.test.ts', '**/*.test.tsx'] },
  }
}

/** Every folder with a package.json becomes a project named as its package. */
function packageProjects(): TestProjectInlineConfiguration[] {
  const parents = ['packages', 'plugins', 'native/kernels']
  const folders = parents.flatMap((parent) =>
    existsSync(join(root, parent)) ? readdirSync(join(root, parent)).map((name) => `${parent}/${name}`) : [],
  )
  return folders.flatMap((folder) => {
    const manifest = join(root, folder, 'package.json')
    if (!existsSync(manifest)) return []
    const { name } = JSON.parse(readFileSync(manifest, 'utf8')) as { name: string }
    return [project(folder, name)]
  })
}

const otherFolders = ['benchmarks', 'embedded', 'examples', 'tests', 'tools'].filter((folder) =>
  existsSync(join(root, folder)),
)

const config: ViteUserConfig = defineConfig({
  test: {
    pool: 'forks',
    // Kernels bring their own threads; more workers than this only make them fight for the cores.
    maxWorkers: 2,
    // Against tests that hang, and far beyond what a busy machine makes of the longest: no test measures by it.
    testTimeout: 240_000,
    hookTimeout: 240_000,
    exclude: ['**/node_modules/**', '**/dist/**', '**/target/**', '**/__fixtures__/**', '**/runs/**'],
    projects: [...packageProjects(), ...otherFolders.map((folder) => project(folder, folder))],
  },
})

export default config
