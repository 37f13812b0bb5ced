import { chmodSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { FakeCarbonServer } from '@swift/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { expectRefusal } from './command/expect-refusal.ts'
import { runSwift, type SwiftCall } from './command/run-swift.ts'
import { folder, needsMeter, onePackage, zone } from './energy-support.ts'

beforeEach(needsMeter)

const read = (path: string): string => readFileSync(path, 'utf8').trim()

/** A script that speaks and runs until the command that started it is gone, however late that is killed. */
const untilOrphaned = 'echo ready; while kill -0 $PPID 2> /dev/null; do sleep 0.05; done'

/** Kills the command itself, and nothing that it started, once its child speaks. */
const killAt =
  (text: string): NonNullable<SwiftCall['onOutput']> =>
  (child, stdout) => {
    if (stdout.includes(text)) child.kill('SIGKILL')
  }

describe('swift energy run --power-limit', () => {
  it('limits the processor for the time of a command, and after kill -9 the next one puts it back', async () => {
    using tree = onePackage()
    const limit = join(tree.root, zone, 'constraint_0_power_limit_uw')
    writeFileSync(limit, '200000000\n')
    writeFileSync(join(tree.root, zone, 'constraint_0_max_power_uw'), '250000000\n')
    const state = folder()
    const env = { SWIFT_POWERCAP_ROOT: tree.root, SWIFT_POWER_STATE: state }
    const words = (script: string, value = '90000000'): string[] => {
      const options = ['--out', join(folder(), 'l'), '--power-limit', `powercap:${zone}=${value}`]
      return ['energy', 'run', ...options, '--', 'sh', '-c', script]
    }
    const run = await runSwift(words(`cat ${limit}; exit 4`), { env })
    expect([run.code, run.stdout.trim()]).toEqual([4, '90000000'])
    expect(run.stderr).toContain(`powercap:${zone} is 200000000 again`)
    expect([read(limit), readdirSync(state)]).toEqual(['200000000', []])

    // Told to stop, it waits for its command and then puts back what was there.
    const onOutput: NonNullable<SwiftCall['onOutput']> = (child, stdout) =>
      void (stdout.includes('ready') && child.kill('SIGTERM'))
    const stopped = await runSwift(words(`echo ready; exec sleep 30`), { env, onOutput })
    expect([stopped.code, read(limit)]).toEqual([128 + 15, '200000000'])

    const killed = await runSwift(words(untilOrphaned), { env, onOutput: killAt('ready') })
    expect(killed.code).toBeNull()
    expect([read(limit), readdirSync(state).length]).toEqual(['90000000', 1])
    const { stdout } = await runSwift(['energy', 'doctor'], { env })
    expect(stdout).toContain(`an earlier process left powercap:${zone} changed: put back to 200000000`)
    expect([read(limit), readdirSync(state)]).toEqual(['200000000', []])

    await expectRefusal(words('true', '300000000'), 'ERR_POWER_SETTING', { env })
    await expectRefusal(words('true', 'low'), 'ERR_OPTION_INVALID', { env })
    expect(read(limit)).toBe('200000000')
  })

  it('does the same for a GPU, through its driver', async (context) => {
    if (process.getuid?.() !== 0) context.skip('the driver takes limits from root only')
    const [tools, state, limit] = [folder(), folder(), join(folder(), 'limit')]
    writeFileSync(limit, '700.00')
    const set = `echo "\${4%%.*}.00" > ${limit}`
    const list = `echo "GPU-abc, $(cat ${limit}), 200.00, 700.00"`
    writeFileSync(join(tools, 'nvidia-smi'), `#!/bin/sh\nif [ "$1" = "-i" ]; then ${set}; else ${list}; fi\n`)
    chmodSync(join(tools, 'nvidia-smi'), 0o755)
    const env = {
      PATH: `${tools}${delimiter}${process.env['PATH']}`,
      SWIFT_POWER_STATE: state,
      SWIFT_POWERCAP_ROOT: folder(),
    }
    const words = ['energy', 'run', '--out', join(folder(), 'l'), '--power-limit', 'nvidia:GPU-abc=300', '--']
    const killed = await runSwift([...words, 'sh', '-c', untilOrphaned], { env, onOutput: killAt('ready') })
    expect([killed.code, read(limit)]).toEqual([null, '300.00'])
    // Any metered run puts it back, not only one that sets limits.
    const next = await runSwift(['energy', 'run', '--out', join(folder(), 'l'), '--', 'cat', limit], { env })
    expect(next.stdout.trim()).toBe('700.00')
    expect(next.stderr).toContain('an earlier process left nvidia:GPU-abc changed: put back to 700.00')
    expect(readdirSync(state)).toEqual([])
  })
})

describe('swift energy run --deadline', () => {
  it('waits for the cleaner hours and says what they save', async () => {
    // Six seconds after the service is asked first, however long the command takes to get there.
    let firstAskedMs: number | undefined
    const edge = (): number => (firstAskedMs ??= Date.now()) + 6000
    await using server = await FakeCarbonServer.start({
      gramsAt: (unixMs) => (unixMs >= edge() ? 100 : 400),
      stepPhaseMs: () => edge() % 300_000,
    })
    const { username, password } = server.account
    const env = { WATTTIME_URL: server.wattTimeUrl, WATTTIME_USERNAME: username, WATTTIME_PASSWORD: password }
    const out = join(folder(), 'l')
    const words = ['energy', 'run', '--out', out, '--carbon', 'watttime', '--zone', 'CAISO_NORTH', '--duration', '2m']
    const { code, stdout, stderr } = await runSwift([...words, '--deadline', '4m', '--', 'date', '+%s'], { env })
    expect(code, stderr).toBe(0)
    expect(stderr).toContain(`begins at ${new Date(edge()).toISOString()}, forecast 100 g/kWh instead of`)
    expect(1000 * Number(stdout) + 999).toBeGreaterThanOrEqual(edge())
    await expectRefusal([...words, '--deadline', '1m', '--', 'true'], 'ERR_CARBON_WINDOW', { env })
    await expectRefusal([...words, '--deadline', '4m', '--duration', 'long', '--', 'true'], 'ERR_OPTION_INVALID', {
      env,
    })
  })
})
