import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { repositoryRoot } from './repository-root.ts'
import { isNodeSuitable, isPnpmSuitable } from './toolchain.mjs'

function bootstrap(commandArguments: readonly string[], path: string) {
  const script = join(repositoryRoot, 'tools/bootstrap.mjs')
  return spawnSync(process.execPath, [script, ...commandArguments], {
    encoding: 'utf8',
    env: { ...process.env, PATH: path, CXX: '' },
  })
}

describe('bootstrap', () => {
  it('names every missing prerequisite with what to do, and exits with 2', () => {
    const empty = mkdtempSync(join(tmpdir(), 'swift-empty-path-'))
    const { status, stderr } = bootstrap([], empty)
    rmdirSync(empty)
    expect(status).toBe(2)
    expect(stderr).toContain('Rust (cargo and rustc): found none on PATH; install Rust from https://rustup.rs')
    expect(stderr).toContain('C++ compiler and linker: found none of')
  })

  it('names a verb that does not exist', () => {
    const { status, stderr } = bootstrap(['no-such-verb'], process.env['PATH'] ?? '')
    expect(status).toBe(2)
    expect(stderr).toContain('there is no verb "no-such-verb"')
  })

  it('takes exactly the Node versions of the engines field, and pnpm 12', () => {
    const suitable = ['v22.18.0', 'v22.20.1', 'v24.11.0', 'v24.21.0', 'v26.0.0', 'v27.1.0']
    const unsuitable = ['v20.20.2', 'v22.17.9', 'v23.9.0', 'v24.10.0', 'v25.1.0', '', undefined]
    expect(suitable.filter((version) => !isNodeSuitable(version))).toEqual([])
    expect(unsuitable.filter((version) => isNodeSuitable(version))).toEqual([])
    expect([isPnpmSuitable('12.21.0'), isPnpmSuitable('11.9.0'), isPnpmSuitable(undefined)]).toEqual([
      true,
      false,
      false,
    ])
  })
})
