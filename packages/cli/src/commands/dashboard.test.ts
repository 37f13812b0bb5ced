import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const program = fileURLToPath(new URL('../bin.ts', import.meta.url))

let folder: string

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'swift-dashboard-command-'))
  await writeFile(join(folder, 'logging.jsonl'), '{"type":"log","step":1,"loss":2,"tokens":10}\n')
})

afterAll(() => rm(folder, { recursive: true, force: true }))

function start(...words: readonly string[]) {
  const child = spawn(process.execPath, ['--conditions=@swift/source', program, 'dashboard', ...words, '--json'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const exit = once(child, 'exit').then(([code]) => code as number)
  const next = async (): Promise<Readonly<Record<string, unknown>>> =>
    JSON.parse((await lines.next()).value ?? 'null') as Readonly<Record<string, unknown>>
  return { child, next, exit }
}

describe('swift dashboard', () => {
  it('serves until it is interrupted', async () => {
    const { child, next, exit } = start(folder, '--port', '0')
    const { type, url } = await next()
    expect(type).toBe('dashboard')
    const data = (await (await fetch(`${String(url)}data.json`)).json()) as { readonly runs: readonly object[] }
    expect(data.runs).toMatchObject([{ step: 1, tokens: 10 }])
    child.kill('SIGINT')
    expect(await exit).toBe(0)
  })

  it('exports one file and ends', async () => {
    const file = join(folder, 'report.html')
    const { next, exit } = start(folder, '--export', file)
    expect(await next()).toMatchObject({ type: 'dashboard-export', file })
    expect(await exit).toBe(0)
    expect((await readFile(file, 'utf8')).startsWith('<!doctype html>')).toBe(true)
  })

  it.each([
    [['nowhere'], 'ERR_RUN_MISSING'],
    [['.', '--export', 'x.html', '--port', '1'], 'ERR_OPTION_INVALID'],
    [['.', '--zone', 'ATLANTIS'], 'ERR_CARBON_ZONE'],
  ])('refuses %j', async (words, code) => {
    const { next, exit } = start(...words)
    expect(await next()).toMatchObject({ type: 'error', code })
    expect(await exit).toBe(2)
  })
})
