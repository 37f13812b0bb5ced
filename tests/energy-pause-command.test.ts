import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ledger } from '@swift/energy'
import { FakeCarbonServer } from '@swift/testing'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { expectRefusal } from './command/expect-refusal.ts'
import { runSwift, type SwiftCall } from './command/run-swift.ts'
import { checkpointsOf, contentsOf, sftWords, writeSmallRun, type SmallRun } from './command/small-run.ts'
import { folder, needsMeter, onePackage, zone } from './energy-support.ts'

const root = mkdtempSync(join(tmpdir(), 'swift-pause-'))
let small: SmallRun
beforeAll(async () => {
  small = await writeSmallRun(root)
})
afterAll(() => rmSync(root, { recursive: true }))

let grams = 400
/** Hours from now on that are as they are now; later ones are clean. */
const dirtyHours = 2
let server: FakeCarbonServer
beforeEach(async (context) => {
  needsMeter(context)
  grams = 400
  server = await FakeCarbonServer.start({
    gramsAt: (unixMs) => (unixMs < Date.now() + dirtyHours * 3_600_000 ? grams : 100),
  })
})
afterEach(() => server[Symbol.asyncDispose]())

/** So many that a run which is told to stop after its first ones has most before it, however late that is. */
const steps = 300
const gated = ['--carbon', 'uk', '--zone', 'GBR', '--pause-above', '300']

function words(output: string, more: readonly string[] = []): string[] {
  return sftWords(small, output, '--max-steps', String(steps), '--save-steps', String(steps), ...more)
}

/** Sends signals once, when standard output holds a text and then something has come true. */
function signalAt(
  text: string,
  signals: readonly NodeJS.Signals[],
  isTime: () => boolean = () => true,
): NonNullable<SwiftCall['onOutput']> {
  let isSent = false
  return (child, stdout) => {
    if (isSent || !stdout.includes(text)) return
    isSent = true
    const sendInTime = (): void => {
      if (isTime()) signals.forEach((signal) => child.kill(signal))
      else if (child.exitCode === null && child.signalCode === null) setTimeout(sendInTime, 50)
    }
    setTimeout(sendInTime, 0)
  }
}

/** Whether a commit of the ledger, which comes every second, holds energy of a pause. */
function hasPaused(output: string): boolean {
  try {
    const { entries } = Ledger.read(join(output, 'energy'))
    return entries.some(({ path, nanojoules }) => path === 'pause' && nanojoules > 0n)
  } catch {
    // The journal's next part is being begun.
    return false
  }
}

interface Limited {
  readonly env: Readonly<Record<string, string>>
  readonly limit: () => string
  readonly left: () => readonly string[]
  readonly option: readonly string[]
}

/** A processor with a power limit of 200 W, to be 90 W for a run. */
function limited(treeRoot: string): Limited {
  const path = join(treeRoot, zone, 'constraint_0_power_limit_uw')
  writeFileSync(path, '200000000\n')
  const state = folder()
  return {
    env: { SWIFT_POWERCAP_ROOT: treeRoot, SWIFT_POWER_STATE: state, UK_CARBON_URL: server.ukUrl },
    limit: () => readFileSync(path, 'utf8').trim(),
    left: () => readdirSync(state),
    option: ['--power-limit', 'powercap:*=90000000'],
  }
}

describe('swift sft --pause-above', () => {
  it('waits while the grid is dirty; a kill -9 in the pause loses nothing, and what it left changed is put back', async () => {
    using tree = onePackage()
    const { env, limit, left, option } = limited(tree.root)
    const whole = join(root, 'whole')
    const uninterrupted = await runSwift(words(whole), { env })
    expect(uninterrupted.code, uninterrupted.stderr).toBe(0)

    const output = join(root, 'killed')
    grams = 100
    const begun = await runSwift(words(output, [...gated, ...option]), {
      env,
      onOutput: signalAt('\nstep 5/', ['SIGINT']),
    })
    expect(begun.code, begun.stderr).toBe(130)
    const [checkpoint = ''] = checkpointsOf(output)
    const step = Number(checkpoint.split('-')[1])
    expect(step).toBeLessThan(steps)
    expect([limit(), left()]).toEqual(['200000000', []])

    grams = 400
    const again = words(output, [...gated, ...option, '--resume-from-checkpoint', 'auto'])
    const killed = await runSwift(again, {
      env,
      onOutput: signalAt('paused after step', ['SIGKILL'], () => hasPaused(output)),
    })
    expect(killed.code).toBeNull()
    expect(killed.stdout).toMatch(
      new RegExp(
        `paused after step ${step} · Paused: 400 g/kWh in GBR, above 300; waiting for a low-carbon window until 20.*, forecast 100 g/kWh, saves about 75 %`,
      ),
    )
    expect([limit(), left().length]).toEqual(['90000000', 1])

    grams = 100
    const rest = await runSwift(again, { env })
    expect(rest.code, rest.stderr).toBe(0)
    expect(rest.stdout).toContain(`continuing after step ${step}`)
    expect(rest.stdout).toMatch(/WARN_POWER_RESTORED: .*was put back to 200000000/)
    expect([limit(), left()]).toEqual(['200000000', []])
    const end = `checkpoint-${steps}`
    expect(contentsOf(join(output, end))).toEqual(contentsOf(join(whole, end)))

    const { entries } = Ledger.read(join(output, 'energy'))
    const ofPause = entries.filter(({ path, nanojoules }) => path === 'pause' && nanojoules > 0n)
    // Waiting is no work that was lost.
    expect(ofPause.length).toBeGreaterThan(0)
    expect(ofPause.map(({ kind }) => kind)).not.toContain('rework')
    const notes = await Ledger.notes(join(output, 'energy'))
    expect(notes.map(({ code }) => code)).toEqual(
      expect.arrayContaining(['NOTE_CARBON_PAUSE', 'NOTE_POWER_LIMIT', 'NOTE_POWER_RESTORED']),
    )
  })

  it.each([[['SIGINT']], [['SIGINT', 'SIGTERM']], [['SIGTERM']]] as const)(
    '%s in the pause ends it at once and puts the power back',
    async (signals) => {
      using tree = onePackage()
      const { env, limit, left, option } = limited(tree.root)
      const output = join(folder(), 'run')
      const call = { env, onOutput: signalAt('paused after step 0', signals) }
      const run = await runSwift(words(output, [...gated, ...option]), call)
      expect(run.code, run.stderr).toBe(130)
      expect([limit(), left()]).toEqual(['200000000', []])
      expect(run.stdout).not.toContain('step 1/')
    },
  )

  it('trains on when the service is away, and says so', async () => {
    using tree = onePackage()
    const { env } = limited(tree.root)
    const output = join(folder(), 'run')
    // Its answer to the plan, and to nothing after.
    server.failNext(1000, 404)
    const run = await runSwift(words(output, [...gated, '--deadline', '8h', '--json']), { env })
    expect(run.code, run.stderr).toBe(0)
    const notes = run.json().filter(({ code }) => code === 'WARN_CARBON_UNKNOWN')
    expect(notes.map(({ message }) => String(message))).toEqual([
      expect.stringContaining(
        'without waiting for hours of low carbon: the forecast of GBR is unknown: ERR_CARBON_',
      ) as string,
      expect.stringContaining('The carbon intensity of GBR is unknown, so the run goes on: ERR_CARBON_') as string,
    ])
    expect(run.json().at(-1)).toMatchObject({ result: { reason: 'finished', step: steps, pausedMs: 0 } })
  })

  it('refuses what can never be, before the model is read', async () => {
    const output = join(folder(), 'run')
    await expectRefusal(words(output, ['--deadline', 'soon']), 'ERR_OPTION_INVALID')
    await expectRefusal(words(output, ['--duration', '1h']), 'ERR_OPTION_INVALID')
    await expectRefusal(words(output, ['--power-limit', 'soft powercap:*=1']), 'ERR_OPTION_INVALID')
    await expectRefusal(words(output, ['--pause-above', '300']), 'ERR_OPTION_INVALID')
    await expectRefusal(words(output, ['--carbon', 'static', '--deadline', '8h']), 'ERR_CARBON_FORECAST')
  })
})
