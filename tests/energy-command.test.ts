import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeEach, describe, expect, it } from 'vitest'
import { runSwift, type SwiftCall, type SwiftRun } from './command/run-swift.ts'
import { folder, needsMeter, onePackage, zone } from './energy-support.ts'

beforeEach(needsMeter)

/** `swift energy run` with a processor that is the tree. */
function energyRun(root: string, ledger: string, words: readonly string[], call: SwiftCall = {}): Promise<SwiftRun> {
  return runSwift(['energy', 'run', '--out', ledger, ...words], { ...call, env: { SWIFT_POWERCAP_ROOT: root } })
}

interface Account {
  readonly source: string
  readonly kind: string
  readonly energyClass: string
  readonly nanojoules: string
}

async function accountsOf(ledger: string): Promise<Account[]> {
  const { stdout } = await runSwift(['energy', 'export', ledger])
  return stdout
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

describe('swift energy run', () => {
  it('reports the joules of a fake tree exactly, hands through output and exit code', async () => {
    using tree = onePackage()
    const ledger = join(folder(), 'ledger')
    const counter = join(tree.root, zone, 'energy_uj')
    // The program spends 12.345678 J in three parts, as a processor would while it runs.
    const script = `echo started; for part in 4000000 8000000 12345678; do echo $part > ${counter}; sleep 0.2; done; exit 7`
    const { code, stdout, stderr } = await energyRun(tree.root, ledger, ['--', 'sh', '-c', script])
    expect(code).toBe(7)
    expect(stdout).toBe('started\n')
    expect(stderr).toContain('exactly 12.345678 J measured')
    expect(stderr).not.toContain('none that can be read here')
    const accounts = await accountsOf(ledger)
    expect(sumOf(accounts, { energyClass: 'measured' })).toBe(12_345_678_000n)
    expect((await runSwift(['energy', 'verify', ledger])).code).toBe(0)
  })

  it('says that energy is modelled where no sensor can be read', async () => {
    const empty = folder()
    const ledger = join(folder(), 'ledger')
    const { code, stderr } = await energyRun(empty, ledger, ['--', 'true'])
    expect(code).toBe(0)
    expect(stderr).toContain('these joules are modelled, not measured')
    expect(stderr).toMatch(/machine .* J \[.*\] modelled/)
    expect(stderr).not.toMatch(/\d J measured/)
  })

  it('counts what the command starts, and what that starts, as the command', async (context) => {
    if (process.platform !== 'linux') context.skip('only Linux shows the processes below one')
    const empty = folder()
    const ledger = join(folder(), 'ledger')
    const burn = 'const until = process.cpuUsage().user + 1.2e6; while (process.cpuUsage().user < until);'
    const script = `"${process.execPath}" -e '${burn}' & wait`
    const before = busySeconds()
    const { code } = await energyRun(empty, ledger, ['--', 'sh', '-c', script])
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
    const script = 'trap "echo caught; exit 5" INT; echo ready; while :; do sleep 0.05; done'
    const signalled = (words: readonly string[], signal: NodeJS.Signals): Promise<SwiftRun> => {
      let isSent = false
      const onOutput: SwiftCall['onOutput'] = (child, stdout) => {
        if (isSent || !stdout.includes('ready')) return
        isSent = true
        child.kill(signal)
      }
      return energyRun(folder(), join(folder(), 'ledger'), ['--', 'sh', '-c', ...words], { onOutput })
    }
    const caught = await signalled([script], 'SIGINT')
    expect(caught.stdout).toBe('ready\ncaught\n')
    expect(caught.code).toBe(5)
    expect(caught.stderr).toContain('exit code')
    expect((await signalled(['echo ready; exec sleep 60'], 'SIGTERM')).code).toBe(128 + 15)
    // A command that a signal ends by itself.
    const own = await energyRun(folder(), join(folder(), 'ledger'), ['--', 'sh', '-c', 'kill -USR1 $$'])
    expect(own.code).toBe(128 + 10)
  })

  it('says 127 for a program that is not there and 126 for one that cannot be run', async () => {
    const absent = await energyRun(folder(), join(folder(), 'l'), ['--', 'no-such-program-here'])
    expect(absent.code).toBe(127)
    expect(absent.stderr).toContain('ERR_COMMAND_START')
    const unreadable = await energyRun(folder(), join(folder(), 'l'), ['--', folder()])
    expect(unreadable.code).toBe(126)
  })

  it('ends a command whose budget is spent, and writes down why', async () => {
    using tree = onePackage()
    const ledger = join(folder(), 'ledger')
    const counter = join(tree.root, zone, 'energy_uj')
    const script = `trap "echo saved; exit 9" TERM; n=0; while [ $n -lt 200 ]; do n=$((n+1)); echo $((n*2000000)) > ${counter}; sleep 0.05; done`
    const words = ['--budget', 'soft 5J, 15J', '--', 'sh', '-c', script]
    const { code, stdout, stderr } = await energyRun(tree.root, ledger, words)
    expect(code).toBe(9)
    expect(stdout).toContain('saved')
    expect(stderr).toContain('The energy budget soft 5J is spent')
    expect(stderr).toContain('The energy budget 15J is spent')
    expect((await runSwift(['energy', 'report', ledger])).stdout).toContain('ERR_ENERGY_BUDGET_SPENT')
  })
})
