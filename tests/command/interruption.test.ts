import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { runSwift, type SwiftRun } from './run-swift.ts'
import { checkpointsOf, contentsOf, sftWords, writeJsonLines, writeSmallRun, type SmallRun } from './small-run.ts'

const root = mkdtempSync(join(tmpdir(), 'swift-interrupt-'))
const steps = 400
let small: SmallRun
beforeAll(async () => {
  small = await writeSmallRun(root)
})
afterAll(() => rmSync(root, { recursive: true }))

/** Starts a run of 400 steps and sends signals once it has made its first ones. */
async function interrupted(output: string, signals: readonly NodeJS.Signals[], more: string[] = []): Promise<SwiftRun> {
  let sent = 0
  return runSwift(words(output, more), {
    onOutput: (child, text) => {
      const hasStarted = text.includes('"type":"step"') || text.includes('\nstep 5/')
      if (!hasStarted || sent > 0) return
      for (const signal of signals) child.kill(signal)
      sent = signals.length
    },
  })
}

function words(output: string, more: readonly string[] = []): string[] {
  return sftWords(small, output, '--max-steps', String(steps), '--save-steps', String(steps), ...more)
}

it.each(['SIGINT', 'SIGTERM'] as const)(
  '%s ends the step, saves, says how to go on, and going on ends with the same bits',
  async (signal) => {
    const whole = join(root, `whole-${signal}`)
    const uninterrupted = await runSwift(words(whole))
    expect(uninterrupted.code, uninterrupted.stderr).toBe(0)
    const output = join(root, signal)
    const run = await interrupted(output, [signal])
    expect(run.code, run.stderr).toBe(130)
    expect(run.stderr).toBe('')
    expect(run.stdout).toContain('finishing this step and saving; press Ctrl-C again to stop at once')
    const [checkpoint = '', ...others] = checkpointsOf(output)
    expect(others).toEqual([])
    const step = Number(checkpoint.split('-')[1])
    expect(step).toBeGreaterThan(0)
    expect(step).toBeLessThan(steps)
    expect(run.stdout).toContain(`Step ${step} is saved. Go on with the same command and`)
    expect(run.stdout).toContain(`--output-dir ${output} --resume-from-checkpoint auto`)

    const resumed = await runSwift(words(output, ['--resume-from-checkpoint', 'auto']))
    expect(resumed.code, resumed.stderr).toBe(0)
    expect(resumed.stdout).toContain(`continuing after step ${step} (${join(output, checkpoint)})`)
    const end = `checkpoint-${steps}`
    expect(contentsOf(join(output, end))).toEqual(contentsOf(join(whole, end)))
  },
)

it('tells programs too, with --json', async () => {
  const output = join(root, 'json')
  const run = await interrupted(output, ['SIGINT'], ['--json'])
  expect(run.code, run.stderr).toBe(130)
  expect(run.json().at(-1)).toMatchObject({
    type: 'result',
    result: { reason: 'aborted', resumeHint: expect.stringContaining('resumeFromCheckpoint: auto') as string },
  })
  expect(checkpointsOf(output).length).toBe(1)
})

it('stops while the data are read, with nothing to save', async () => {
  const output = join(root, 'reading')
  const rows = Array.from({ length: 300_000 }, (_, index) => ({ query: `question ${index}?`, response: 'Belo' }))
  const dataset = writeJsonLines(join(root, 'many.jsonl'), rows)
  const interrupt = async (...more: string[]): Promise<SwiftRun> => {
    let isSent = false
    return runSwift(sftWords({ ...small, dataset }, output, ...more), {
      onOutput: (child) => {
        if (!isSent) child.kill('SIGINT')
        isSent = true
      },
    })
  }
  const run = await interrupt()
  expect(run.code, run.stderr).toBe(130)
  expect(run.stderr).toBe('')
  expect(run.stdout).toContain('stopped while the data were read')
  expect(checkpointsOf(output)).toEqual([])
  const asJson = await interrupt('--json')
  expect(asJson.code, asJson.stderr).toBe(130)
  expect(asJson.json().at(-1)).toEqual({ type: 'result', result: { reason: 'aborted', step: 0 } })
})

it('a second Ctrl-C stops at once, and what was saved is whole', async () => {
  const output = join(root, 'twice')
  const run = await interrupted(output, ['SIGINT', 'SIGTERM'], ['--save-steps', '2'])
  expect(run.code, run.stderr).toBe(130)
  const resumed = await runSwift(words(output, ['--resume-from-checkpoint', 'auto']))
  expect(resumed.code, resumed.stderr).toBe(0)
})
