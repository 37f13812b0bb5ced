import { spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { setTimeout as sleep } from 'node:timers/promises'
import { meterNow } from '@swift/kernels/meter'
import { FakePowercapTree } from '@swift/testing'
import { afterEach, describe, expect, it } from 'vitest'

/** Why the native meter cannot be used here, or `undefined`. */
function whyNoMeter(): string | undefined {
  try {
    meterNow()
    return undefined
  } catch (error) {
    return String(error)
  }
}

const reason = whyNoMeter()
if (reason !== undefined) console.warn(`skipping the tests of swift energy: ${reason}`)

const program = fileURLToPath(new URL('../packages/cli/src/bin.ts', import.meta.url))
const folders: string[] = []

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'swift-energy-command-'))
  folders.push(path)
  return path
}

afterEach(() => {
  for (const path of folders.splice(0)) rmSync(path, { recursive: true, force: true })
})

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly err: string
}

interface RunningSwift {
  readonly ended: Promise<Ended>
  kill(signal: NodeJS.Signals): void
  /** Resolves when the text appears on standard output. */
  says(text: string): Promise<void>
}

function start(words: readonly string[], environment: Readonly<Record<string, string>> = {}): RunningSwift {
  const child = spawn(process.execPath, ['--conditions=@swift/source', program, ...words], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  })
  let out = ''
  let err = ''
  child.stdout.on('data', (data) => (out += String(data)))
  child.stderr.on('data', (data) => (err += String(data)))
  return {
    ended: new Promise((resolve) => child.on('close', (code) => resolve({ code, out, err }))),
    kill: (signal) => void child.kill(signal),
    says: async (text) => {
      while (!out.includes(text)) {
        if (child.exitCode !== null) throw new Error(`ended without ${text}: ${err}`)
        await sleep(20)
      }
    },
  }
}

const swift = (words: readonly string[], environment?: Readonly<Record<string, string>>): Promise<Ended> =>
  start(words, environment).ended

interface Account {
  readonly source: string
  readonly kind: string
  readonly energyClass: string
  readonly nanojoules: string
}

async function accountsOf(ledger: string): Promise<Account[]> {
  const { out } = await swift(['energy', 'export', ledger])
  return out
    .split('\n')
    .filter((line) => line.includes('"type":"entry"'))
    .map((line) => JSON.parse(line) as Account)
}

const sumOf = (accounts: readonly Account[], match: Partial<Account>): bigint =>
  accounts
    .filter((account) => Object.entries(match).every(([name, value]) => account[name as keyof Account] === value))
    .reduce((sum, { nanojoules }) => sum + BigInt(nanojoules), 0n)

function busySeconds(): number {
  const [, user, nice, system, , , interrupts, soft] = readFileSync('/proc/stat', 'utf8').split(/\s+/).map(Number)
  return [user, nice, system, interrupts, soft].reduce((sum: number, ticks) => sum + (ticks ?? 0), 0) / 100
}

describe.skipIf(reason !== undefined)('swift energy run', () => {
  it('reports the joules of a fake tree exactly, hands through output and exit code', async () => {
    using tree = new FakePowercapTree([{ entry: 'intel-rapl:0', name: 'package-0' }])
    const ledger = join(folder(), 'ledger')
    const counter = join(tree.root, 'intel-rapl:0', 'energy_uj')
    // The program spends 12.345678 J in three parts, as a processor would while it runs.
    const script = `echo started; for part in 4000000 8000000 12345678; do echo $part > ${counter}; sleep 0.2; done; exit 7`
    const { code, out, err } = await swift(['energy', 'run', '--out', ledger, '--', 'sh', '-c', script], {
      SWIFT_POWERCAP_ROOT: tree.root,
    })
    expect(code).toBe(7)
    expect(out).toBe('started\n')
    expect(err).toContain('exactly 12.345678 J measured')
    expect(err).not.toContain('none that can be read here')
    const accounts = await accountsOf(ledger)
    expect(sumOf(accounts, { energyClass: 'measured' })).toBe(12_345_678_000n)
    expect((await swift(['energy', 'verify', ledger])).code).toBe(0)
  })

  it('says that energy is modelled where no sensor can be read', async () => {
    const empty = folder()
    const ledger = join(folder(), 'ledger')
    const { code, err } = await swift(['energy', 'run', '--out', ledger, '--', 'true'], { SWIFT_POWERCAP_ROOT: empty })
    expect(code).toBe(0)
    expect(err).toContain('these joules are modelled, not measured')
    expect(err).toMatch(/machine .*kWh \[.*\] modelled/)
    expect(err).not.toMatch(/\d J measured/)
  })

  it('counts what the command starts, and what that starts, as the command', async (context) => {
    if (process.platform !== 'linux') context.skip('only Linux shows the processes below one')
    const empty = folder()
    const ledger = join(folder(), 'ledger')
    const burn = 'const until = process.cpuUsage().user + 1.2e6; while (process.cpuUsage().user < until);'
    const script = `"${process.execPath}" -e '${burn}' & wait`
    const before = busySeconds()
    const { code } = await swift(['energy', 'run', '--out', ledger, '--', 'sh', '-c', script], {
      SWIFT_POWERCAP_ROOT: empty,
    })
    const busy = busySeconds() - before
    expect(code).toBe(0)
    const accounts = (await accountsOf(ledger)).filter(({ source }) => source === 'cpu_time_model')
    const own = Number(sumOf(accounts, { kind: 'phase' }))
    const others = Number(sumOf(accounts, { kind: 'other_tenants' }))
    // 1.2 s of the machine's busy seconds were the grandchild's. Without following it, `own` is the meter's few
    // hundredths of a second; the half leaves room for the load curve and for ticks of 10 ms.
    expect(own / (own + others)).toBeGreaterThan((0.5 * 1.2) / busy)
  })

  it('forwards signals and exits as the command does', async () => {
    const ledger = join(folder(), 'ledger')
    const script = 'trap "echo caught; exit 5" INT; echo ready; while :; do sleep 0.05; done'
    const running = start(['energy', 'run', '--out', ledger, '--', 'sh', '-c', script])
    await running.says('ready')
    running.kill('SIGINT')
    const { code, out, err } = await running.ended
    expect(out).toContain('caught')
    expect(code).toBe(5)
    expect(err).toContain('exit code')
    const killed = start(['energy', 'run', '--out', join(folder(), 'l'), '--', 'sh', '-c', 'echo ready; exec sleep 60'])
    await killed.says('ready')
    killed.kill('SIGTERM')
    expect((await killed.ended).code).toBe(128 + 15)
  })

  it('says 127 for a program that is not there, and codes a command that is missing', async () => {
    const absent = await swift(['energy', 'run', '--out', join(folder(), 'l'), '--', 'no-such-program-here'])
    expect(absent.code).toBe(127)
    expect(absent.err).toContain('ERR_COMMAND_START')
    expect((await swift(['energy', 'run'])).err).toContain('ERR_ARGUMENT_MISSING')
    expect((await swift(['energy', 'run', '--budget', '5 cows', '--', 'true'])).err).toContain('ERR_ENERGY_BUDGET')
  })

  it('ends a command whose budget is spent, and writes down why', async () => {
    using tree = new FakePowercapTree([{ entry: 'intel-rapl:0', name: 'package-0' }])
    const ledger = join(folder(), 'ledger')
    const counter = join(tree.root, 'intel-rapl:0', 'energy_uj')
    const script = `trap "echo saved; exit 9" TERM; n=0; while [ $n -lt 200 ]; do n=$((n+1)); echo $((n*2000000)) > ${counter}; sleep 0.05; done`
    const words = ['energy', 'run', '--out', ledger, '--budget', 'soft 5J, 15J', '--', 'sh', '-c', script]
    const { code, out, err } = await swift(words, { SWIFT_POWERCAP_ROOT: tree.root })
    expect(code).toBe(9)
    expect(out).toContain('saved')
    expect(err).toContain('The energy budget soft 5J is spent')
    expect(err).toContain('The energy budget 15J is spent')
    expect((await swift(['energy', 'report', ledger])).out).toContain('ERR_ENERGY_BUDGET_SPENT')
  })
})

describe.skipIf(reason !== undefined)('swift energy', () => {
  async function made(joules: number): Promise<string> {
    using tree = new FakePowercapTree([{ entry: 'intel-rapl:0', name: 'package-0' }])
    const ledger = join(folder(), 'ledger')
    const counter = join(tree.root, 'intel-rapl:0', 'energy_uj')
    // In steps, as a processor would: a single leap is an edge whose place between two readings nobody knows.
    const step = joules * 1e5
    const script = `n=0; while [ $n -lt 10 ]; do n=$((n+1)); echo $((n*${step})) > ${counter}; sleep 0.05; done; sleep 0.1`
    await swift(['energy', 'run', '--out', ledger, '--', 'sh', '-c', script], { SWIFT_POWERCAP_ROOT: tree.root })
    return ledger
  }

  it('reports by every key, with price, tokens and factor, and compares two runs', async () => {
    const [first, second] = [await made(50), await made(200)]
    for (const per of ['epoch', 'phase', 'account', 'path', 'device']) {
      const { code, out } = await swift([
        'energy',
        'report',
        first,
        '--per',
        per,
        '--zone',
        'FRA',
        '--price',
        '0.30EUR',
      ])
      expect(code).toBe(0)
      expect(out).toContain('exactly: 50 J measured')
      expect(out).toContain('CC BY 4.0')
      expect(out).toMatch(/cost .* EUR/)
    }
    const tokens = await swift(['energy', 'report', first, '--tokens', '1000'])
    expect(tokens.out).toMatch(/J\/token \[.*\] measured/)
    const { out } = await swift(['energy', 'report', '--compare', first, second])
    expect(out).toMatch(/machine +measured +50 J .* 200 J .*\+300\.0 %.*differs/)
    const { out: json } = await swift(['energy', 'report', '--compare', first, second, '--json'])
    expect(JSON.parse(json)).toMatchObject({ type: 'energy-comparison' })
    expect((await swift(['energy', 'report', '--compare', first])).err).toContain('ERR_ARGUMENT_MISSING')
  })

  it('exports every format, and codes a zone nobody knows', async () => {
    const ledger = await made(36)
    const exported = async (format: string): Promise<string> =>
      (await swift(['energy', 'export', ledger, '--format', format])).out
    expect(await exported('csv')).toContain('rapl_powercap:intel-rapl:0,measured,')
    expect(await exported('prometheus')).toMatch(/swift_energy_joules_total\{.*class="measured".*\} \d+\.\d{9}/)
    expect(JSON.parse(await exported('sci'))).toMatchObject({ format: 'swift-sci/1', units: 1 })
    const [header = '', row = ''] = (await exported('codecarbon')).split('\n')
    const value = (column: string): string => row.split(',')[header.split(',').indexOf(column)] ?? ''
    expect(Number(value('energy_consumed'))).toBeCloseTo(36 / 3.6e6, 12)
    // Memory was modelled: its column is empty, not a number.
    expect(value('ram_energy')).toBe('')
    expect((await swift(['energy', 'report', ledger, '--zone', 'ATLANTIS'])).err).toContain('ERR_CARBON_ZONE')
  })

  it('calibrates against a wall meter, and reports with it', async () => {
    const ledgers = [await made(2), await made(20), await made(60)]
    // The meter saw 1.1 J for each joule over the whole time of every run, and 30 W more.
    const lines = ['unix_ms,watts']
    const spans: { start: number; end: number; watts: number }[] = []
    for (const [index, ledger] of ledgers.entries()) {
      const { out } = await swift(['energy', 'report', ledger, '--json'])
      const { durationSeconds } = JSON.parse(out) as { durationSeconds: number }
      const { segmentHeaders } = await import('@swift/energy')
      const [header] = await segmentHeaders(ledger)
      const start = header?.startedUnixMs ?? 0
      const joules = [2, 20, 60][index] ?? 0
      spans.push({ start, end: start + durationSeconds * 1000, watts: (1.1 * joules) / durationSeconds + 30 })
    }
    for (const { start, end, watts } of spans) lines.push(`${start - 1},${watts}`, `${end + 1},${watts}`)
    const meter = join(folder(), 'meter.csv')
    writeFileSync(meter, `${lines.join('\n')}\n`)
    const file = join(folder(), 'calibration.json')
    const fitted = await swift(['energy', 'calibrate', meter, ...ledgers, '--calibration', file])
    expect(fitted.err).toBe('')
    const calibration = JSON.parse(readFileSync(file, 'utf8')) as { gain: number; offsetWatts: number; id: string }
    expect(calibration.gain).toBeCloseTo(1.1, 4)
    expect(calibration.offsetWatts).toBeCloseTo(30, 3)
    const { out } = await swift(['energy', 'report', ledgers[1] ?? '', '--calibration', file])
    expect(out).toContain(calibration.id)
    // The duration in the report is rounded to what JSON holds of it.
    expect(Number(/exactly: ([\d.]+) J measured/.exec(out)?.[1])).toBeCloseTo(22, 2)
  })

  it('watches a ledger as plain lines and ends when it rests', async () => {
    const ledger = await made(5)
    const { code, out } = await swift(['energy', 'watch', ledger])
    expect(code).toBe(0)
    expect(out).toContain('5 J measured')
    expect(out).toContain('no commit for 5 s')
  })

  it('explains the machine, and waits for nobody without a forecast', async () => {
    const { code, out } = await swift(['energy', 'doctor', '--json'])
    expect(code).toBe(0)
    const { findings } = JSON.parse(out) as { findings: { verdict: string; why: string }[] }
    expect(findings.length).toBeGreaterThan(0)
    for (const { why } of findings) expect(why).not.toBe('')
    const waiting = await swift(['energy', 'run', '--deadline', '2h', '--', 'true'])
    expect(waiting.err).toContain('ERR_CARBON_FORECAST')
    expect(existsSync(join(process.cwd(), 'output'))).toBe(false)
  })
})
