import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, describe, expect, it } from 'vitest'
import { checkBoundaries } from './check-boundaries.ts'

const folders: string[] = []

afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true })
})

/** A lawful house of three packages; each test breaks one thing in it. */
const lawful: Record<string, string> = {
  'packages/spec/package.json': JSON.stringify({ name: '@swift/spec', exports: { '.': './src/index.ts' } }),
  'packages/spec/src/index.ts': 'export const answer = 42\n',
  'packages/core/package.json': JSON.stringify({
    name: '@swift/core',
    exports: { '.': './src/index.ts' },
    dependencies: { '@swift/spec': 'workspace:^' },
    devDependencies: { '@swift/plugin-lora': 'workspace:^' },
  }),
  'packages/core/src/index.ts':
    "/** import '@swift/cli' in prose is no import */\nexport { answer } from '@swift/spec'\n",
  'packages/core/src/index.test.ts': "import { it } from 'vitest'\nimport '@swift/plugin-lora'\n",
  'plugins/plugin-lora/package.json': JSON.stringify({
    name: '@swift/plugin-lora',
    exports: { '.': './src/index.ts' },
    peerDependencies: { '@swift/spec': 'workspace:^' },
  }),
  'plugins/plugin-lora/src/index.ts': "export { answer } from '@swift/spec'\n",
}

function problemsOf(changes: Record<string, string>): string[] {
  const root = mkdtempSync(join(tmpdir(), 'swift-boundaries-'))
  folders.push(root)
  for (const [path, text] of Object.entries({ ...lawful, ...changes })) {
    mkdirSync(dirname(join(root, path)), { recursive: true })
    writeFileSync(join(root, path), text)
  }
  return checkBoundaries(root).problems
}

function manifest(name: string, fields: object = {}): string {
  return JSON.stringify({ name, exports: { '.': './src/index.ts' }, ...fields })
}

describe('check-boundaries', () => {
  it('finds nothing in a lawful house', () => {
    expect(problemsOf({})).toEqual([])
  })

  it('finds an import against the direction', () => {
    const problems = problemsOf({
      'packages/spec/src/index.ts': "export { answer } from '@swift/core'\n",
      'packages/spec/package.json': manifest('@swift/spec', { peerDependencies: { '@swift/core': 'workspace:^' } }),
    })
    expect(problems).toEqual([expect.stringContaining('@swift/spec may not import @swift/core')])
  })

  it('finds a plugin that imports core, also through a dynamic import', () => {
    const problems = problemsOf({
      'plugins/plugin-lora/src/index.ts': "export const core = import('@swift/core')\n",
      'plugins/plugin-lora/package.json': manifest('@swift/plugin-lora', {
        peerDependencies: { '@swift/spec': 'workspace:^' },
        dependencies: { '@swift/core': 'workspace:^' },
      }),
    })
    expect(problems).toEqual([expect.stringContaining('@swift/plugin-lora may not import @swift/core')])
  })

  it('takes dev dependencies for what a build bundles, and only there', () => {
    const page = (path: string): Record<string, string> => ({
      'packages/core/package.json': JSON.stringify({
        name: '@swift/core',
        exports: { '.': './src/index.ts' },
        dependencies: { '@swift/spec': 'workspace:^' },
        devDependencies: { '@swift/plugin-lora': 'workspace:^', preact: '1' },
        swift: { bundledSource: 'src/page' },
      }),
      [`packages/core/src/${path}`]: "import 'preact/hooks'\n",
    })
    expect(problemsOf(page('page/app.ts'))).toEqual([])
    expect(problemsOf(page('pages.ts'))).toEqual([expect.stringContaining('imports preact')])
  })

  it('lets a bundle import plugins and declare nothing of its own', () => {
    const bundle = {
      'plugins/plugin-both/package.json': manifest('@swift/plugin-both', {
        swift: { bundle: true },
        peerDependencies: { '@swift/spec': 'workspace:^' },
        dependencies: { '@swift/plugin-lora': 'workspace:^' },
      }),
      'plugins/plugin-both/src/index.ts': "export { answer } from '@swift/plugin-lora'\n",
    }
    expect(problemsOf(bundle)).toEqual([])
    const behaving = { ...bundle, 'plugins/plugin-both/src/more.ts': 'export const twice = (x: number) => 2 * x\n' }
    expect(problemsOf(behaving)).toEqual([expect.stringContaining('a bundle only re-exports')])
    const plain = bundle['plugins/plugin-both/package.json'].replace('"bundle":true', '"bundle":false')
    expect(problemsOf({ ...bundle, 'plugins/plugin-both/package.json': plain })).toEqual([
      expect.stringContaining('@swift/plugin-both may not import @swift/plugin-lora'),
    ])
  })

  it('finds undeclared, deep, escaping and bare built-in imports', () => {
    const problems = problemsOf({
      'packages/core/src/index.ts': [
        "import 'left-pad'",
        "import '@swift/spec/src/index.ts'",
        "import '../../spec/src/index.ts'",
        "import 'fs'",
      ].join('\n'),
    })
    expect(problems).toEqual([
      expect.stringContaining('imports left-pad, which the package.json of @swift/core does not declare'),
      expect.stringContaining('@swift/spec/src/index.ts is not an export path'),
      expect.stringContaining('may not import @swift/spec/src/index.ts'),
      expect.stringContaining('leaves the package'),
      expect.stringContaining('node:fs'),
    ])
  })

  it('finds production code that leans on a development dependency', () => {
    const problems = problemsOf({ 'packages/core/src/index.ts': "export { answer } from '@swift/plugin-lora'\n" })
    expect(problems).toEqual([
      expect.stringContaining('does not declare'),
      expect.stringContaining('@swift/core may not import @swift/plugin-lora'),
    ])
  })

  it('finds manifests that promise or need too much', () => {
    const problems = problemsOf({
      'packages/spec/package.json': manifest('@swift/spec', {
        exports: { '.': './a.ts', './b': './b.ts', './c': './c.ts', './package.json': './package.json' },
        dependencies: { zod: 'catalog:' },
      }),
      'plugins/plugin-lora/package.json': manifest('@swift/plugin-lora', { dependencies: { '@swift/spec': '1' } }),
      'native/kernels/meter/Cargo.toml': '[dependencies]\nnapi = "3"\n',
    })
    expect(problems).toEqual([
      expect.stringContaining('exports has 3 paths'),
      expect.stringContaining('@swift/spec may have no dependencies'),
      expect.stringContaining('peer dependency'),
      expect.stringContaining('depends on napi'),
    ])
  })

  it('finds files that are too long, badly named or hold forbidden text', () => {
    const problems = problemsOf({
      'packages/spec/src/long.ts': 'export {}\n'.repeat(801),
      'packages/spec/src/generated.ts': `// @generated by a tool\n${'export {}\n'.repeat(900)}`,
      'packages/spec/src/camelCase.ts': 'export {}\n',
      'native/kernels/kernels/src/kebab-case.rs': 'fn main() {}\n',
      'packages/core/src/dice.ts': `export const roll = (): number => Math.${'random'}()\n`,
    })
    expect(problems).toEqual([
      expect.stringContaining('kebab-case.rs: name it in snake_case'),
      expect.stringContaining('packages/core/src/dice.ts:1'),
      expect.stringContaining('camelCase.ts: name it in kebab-case'),
      expect.stringContaining('long.ts: 801 lines'),
    ])
  })
})
