import { spawn } from 'node:child_process'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { RandomStream } from '@swift/tensor'

const child = fileURLToPath(new URL('../testing/train-child.ts', import.meta.url))
const steps = 200
const kills = 20

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'swift-kill-'))
})
afterAll(() => rm(root, { recursive: true }))

/** Runs the child; kills it (SIGKILL) `delayMs` after its `killAfter`-th line. @returns whether it finished by itself */
async function life(folder: string, killAfter: number, delayMs: number): Promise<boolean> {
  const process_ = spawn(process.execPath, ['--conditions=@swift/source', child, folder, String(steps)])
  let lines = 0
  let errors = ''
  let timer: NodeJS.Timeout | undefined
  const kill = (): void => {
    timer ??= setTimeout(() => process_.kill('SIGKILL'), delayMs)
  }
  if (killAfter === 0) kill()
  process_.stdout.on('data', (chunk: Buffer) => {
    lines += chunk.toString().split('\n').length - 1
    if (lines >= killAfter) kill()
  })
  process_.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString()
  })
  const { code, signal } = await new Promise<{ code: number | null; signal: string | null }>((resolve) =>
    process_.on('close', (code, signal) => resolve({ code, signal })),
  )
  clearTimeout(timer)
  if (signal === null && code !== 0) throw new Error(`the child failed: ${errors}`)
  return signal === null
}

async function filesOf(folder: string): Promise<Record<string, string>> {
  const checkpoint = join(folder, `checkpoint-${steps}`)
  const names = ['adapter_model.safetensors', 'optimizer.safetensors']
  const entries = await Promise.all(
    names.map(async (name) => [name, (await readFile(join(checkpoint, name))).toString('base64')] as const),
  )
  return Object.fromEntries(entries)
}

it(`ends with the same bits after ${kills} kills as without any`, async () => {
  const whole = join(root, 'whole')
  expect(await life(whole, Number.POSITIVE_INFINITY, 0)).toBe(true)
  const killed = join(root, 'killed')
  const random = new RandomStream(7)
  const draw = (below: number): number => random.next() % below
  let count = 0
  // Some lives end while starting, most in the middle of steps or of a checkpoint.
  while (count < kills) {
    const finished = await life(
      killed,
      count % 5 === 4 ? 0 : 1 + draw(14),
      count % 5 === 4 ? 200 + draw(800) : draw(40),
    )
    expect(finished, `the run ended before kill ${count + 1}; it needs more steps`).toBe(false)
    count += 1
  }
  expect(await life(killed, Number.POSITIVE_INFINITY, 0)).toBe(true)
  expect(await filesOf(killed)).toEqual(await filesOf(whole))
  expect((await readdir(killed)).filter((name) => name.startsWith('.incomplete'))).toEqual([])
  const logged = (await readFile(join(killed, 'logging.jsonl'), 'utf8')).trim().split('\n')
  const logs = logged
    .map((line) => JSON.parse(line) as { type: string; step: number })
    .filter(({ type }) => type === 'log')
  expect(logs.map(({ step }) => step)).toEqual(Array.from({ length: steps }, (_, index) => index + 1))
}, 300_000)
