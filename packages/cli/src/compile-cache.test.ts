import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, expect, it } from 'vitest'

const program = fileURLToPath(new URL('./bin.ts', import.meta.url))
const root = mkdtempSync(join(tmpdir(), 'swift-compiled-'))

afterAll(() => rmSync(root, { recursive: true, force: true }))

/** Runs `swift --version` with caches in a folder. */
function start(cacheHome: string): { readonly status: number | null; readonly stderr: string } {
  const env = { ...process.env, XDG_CACHE_HOME: cacheHome }
  return spawnSync(process.execPath, ['--conditions=@swift/source', program, '--version'], { env, encoding: 'utf8' })
}

function filesIn(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ name }) => name)
}

it('keeps compiled code in the folder of caches', () => {
  const cacheHome = join(root, 'own')
  expect(start(cacheHome)).toMatchObject({ status: 0, stderr: '' })
  expect(filesIn(join(cacheHome, 'swift', 'compiled')).length).toBeGreaterThan(0)
})

it('runs without a word where none can be kept', () => {
  const file = join(root, 'file')
  writeFileSync(file, '')
  expect(start(file)).toMatchObject({ status: 0, stderr: '' })
})

it('keeps nothing where others can write', (context) => {
  if (process.getuid === undefined) context.skip('files here have no owner and no mode')
  const folder = join(root, 'shared', 'swift', 'compiled')
  mkdirSync(folder, { recursive: true })
  chmodSync(folder, 0o777)
  expect(start(join(root, 'shared'))).toMatchObject({ status: 0, stderr: '' })
  expect(filesIn(folder)).toEqual([])
})
