import { spawn } from 'node:child_process'
import { existsSync, readdirSync } from 'node:fs'
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { RandomStream } from '@swift/tensor'

const child = fileURLToPath(new URL('../testing/train-child.ts', import.meta.url))
const steps = 240
const kills = 20
/** Steps that a life may go on after its moment; all lives together must not reach the end of the run. */
const beyond = 5
/** Decides every moment; set it to repeat a run. */
const seed = Number(process.env['SWIFT_KILL_SEED'] ?? 7)

let root: string
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'swift-kill-'))
})
afterAll(() => rm(root, { recursive: true }))

/** When a life ends. */
interface Moment {
  /**
   * `start`: after spawning; `step`: after that many steps; `save`: once a checkpoint is seen to be begun after that many
   * steps; `held`: in the midst of the first checkpoint, however late this process is.
   */
  readonly after: 'start' | 'step' | 'save' | 'held'
  readonly steps: number
  readonly delayMs: number
}

const isIncomplete = (name: string): boolean => name.startsWith('.incomplete')

/** Runs the child until a moment, then kills it (SIGKILL). @returns whether it finished by itself */
async function life(folder: string, moment?: Moment): Promise<boolean> {
  // The child goes no further than a few steps beyond the moment, however late this process kills it.
  const limits =
    moment === undefined ? [] : [String(moment.steps + beyond), ...(moment.after === 'held' ? ['hold'] : [])]
  const process_ = spawn(process.execPath, ['--conditions=@swift/source', child, folder, String(steps), ...limits])
  const ended = new Promise<{ code: number | null; signal: string | null }>((resolve) =>
    process_.on('close', (code, signal) => resolve({ code, signal })),
  )
  let lines = 0
  let errors = ''
  // Aborted when the moment has come, or the life is over without it.
  const waiting = new AbortController()
  const kill = (): void => {
    waiting.abort()
    // A delay of zero must not wait for a turn of the timers: a checkpoint is written in a few milliseconds.
    if (moment?.delayMs === 0) process_.kill('SIGKILL')
    else setTimeout(() => process_.kill('SIGKILL'), moment?.delayMs)
  }
  const watchForSave = async (): Promise<void> => {
    while (!waiting.signal.aborted) {
      if (existsSync(folder) && readdirSync(folder).some(isIncomplete)) kill()
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  if (moment?.after === 'start') kill()
  process_.stdout.on('data', (chunk: Buffer) => {
    const before = lines
    lines += chunk.toString().split('\n').length - 1
    if (/^(holding|waiting)$/m.test(chunk.toString())) kill()
    if (moment?.after !== 'step' && moment?.after !== 'save') return
    if (before >= moment.steps || lines < moment.steps) return
    if (moment.after === 'step') kill()
    else void watchForSave()
  })
  process_.stderr.on('data', (chunk: Buffer) => {
    errors += chunk.toString()
  })
  const { code, signal } = await ended
  waiting.abort()
  if (signal === null && code !== 0) throw new Error(`the child failed: ${errors}`)
  return signal === null
}

/** Weights, optimizer and random state at the end of a run. */
async function endOf(folder: string): Promise<Record<string, unknown>> {
  const checkpoint = join(folder, `checkpoint-${steps}`)
  const names = ['adapter_model.safetensors', 'optimizer.safetensors']
  const entries = await Promise.all(
    names.map(async (name) => [name, (await readFile(join(checkpoint, name))).toString('base64')] as const),
  )
  const { ledger, ...state } = JSON.parse(await readFile(join(checkpoint, 'trainer_state.json'), 'utf8')) as object & {
    ledger: unknown
  }
  expect(ledger).toBeDefined()
  return { ...Object.fromEntries(entries), state }
}

it(`ends with the same bits after ${kills} kills as without any`, async () => {
  console.log(`moments from seed ${seed} (SWIFT_KILL_SEED)`)
  const whole = join(root, 'whole')
  expect(await life(whole)).toBe(true)
  const killed = join(root, 'killed')
  const random = new RandomStream(seed)
  const draw = (below: number): number => random.next() % below
  let brokenSaves = 0
  for (let count = 0; count < kills; count += 1) {
    // Of five lives one ends while starting, two while a checkpoint is written, the others wherever they are. A checkpoint
    // takes a few milliseconds, and this process may look too late: every second one is held until the kill.
    const kind = (['start', 'save', 'step', 'held', 'step'] as const)[count % 5] ?? 'step'
    const delayMs = kind === 'start' ? 100 + draw(900) : kind === 'save' ? draw(3) : kind === 'held' ? 0 : draw(40)
    const finished = await life(killed, { after: kind, steps: 1 + draw(8), delayMs })
    expect(finished, `the run ended before kill ${count + 1}; it needs more steps`).toBe(false)
    if ((await readdir(killed).catch(() => [])).some(isIncomplete)) brokenSaves += 1
  }
  console.log(`${brokenSaves} of ${kills} kills left a half-written checkpoint`)
  expect(brokenSaves).toBeGreaterThanOrEqual(kills / 5)
  expect(await life(killed)).toBe(true)
  expect(await endOf(killed)).toEqual(await endOf(whole))
  expect((await readdir(killed)).filter(isIncomplete)).toEqual([])
  const logged = (await readFile(join(killed, 'logging.jsonl'), 'utf8')).trim().split('\n')
  const logs = logged
    .map((line) => JSON.parse(line) as { type: string; step: number })
    .filter(({ type }) => type === 'log')
  expect(logs.map(({ step }) => step)).toEqual(Array.from({ length: steps }, (_, index) => index + 1))
}, 300_000)
