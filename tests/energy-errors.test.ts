import { spawn } from 'node:child_process'
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { ElectricityMapsProvider, Ledger } from '@swift/energy'
import type { LedgerEvent } from '@swift/spec'
import { FakeCarbonServer } from '@swift/testing'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import {
  codeOf,
  folder,
  joule,
  ledgerOptions as options,
  measuredOf,
  needsMeter,
  onePackage,
  zone,
} from './energy-support.ts'

beforeEach(needsMeter)
afterEach(() => {
  vi.restoreAllMocks()
})

const measured = (ledger: Ledger): bigint | undefined => measuredOf(ledger.totals().energy)

/** Each line of the table of what can go wrong: a coded error or a labelled gap, never a wrong number. */
describe('the table of errors', () => {
  it('an unreadable sensor is unavailable with its reason, and its energy is modelled, not zero', async () => {
    using tree = onePackage()
    rmSync(join(tree.root, zone, 'energy_uj'))
    await using ledger = await Ledger.open(folder(), options(tree))
    const source = ledger.sources().find(({ kind }) => kind === 'rapl_powercap')
    expect(source?.state).toBe('unavailable')
    expect(source?.reason).not.toBe('')
    await sleep(100)
    await ledger.settle()
    expect(measured(ledger)).toBeUndefined()
    expect(ledger.totals().energy.modelled?.nanojoules).toBeGreaterThan(0n)
  })

  it('a sensor that stops answering is no sample: nothing is invented, nothing is lost when it comes back', async () => {
    using tree = onePackage()
    const events: LedgerEvent[] = []
    await using ledger = await Ledger.open(folder(), options(tree, { onEvent: (event) => events.push(event) }))
    tree.add(zone, 2n * joule)
    await ledger.settle()
    tree.breakUntilAdd(zone)
    await sleep(150)
    expect(measured(ledger)).toBe(2n * joule)
    tree.add(zone, 3n * joule)
    await sleep(150)
    await ledger.settle()
    expect(measured(ledger)).toBe(5n * joule)
  })

  it('a damaged journal is found, and never read past the damage', async () => {
    using tree = onePackage()
    const directory = folder()
    const ledger = await Ledger.open(directory, options(tree))
    for (let part = 0; part < 5; part++) {
      tree.add(zone, joule)
      await sleep(80)
    }
    const { energy } = await ledger.close()
    const [name = ''] = readdirSync(directory).filter((file) => file.endsWith('.swj'))
    const file = join(directory, name)
    const whole = readFileSync(file)
    const damaged = Buffer.from(whole)
    const at = Math.floor(whole.length * 0.7)
    damaged[at] = (damaged[at] ?? 0) ^ 0x10
    writeFileSync(file, damaged)
    const verification = await Ledger.verify(directory)
    expect(verification.ok && verification.tornBytes === 0).toBe(false)
    const report = await Ledger.report(directory)
    const known = report.machine.energy.measured?.nanojoules ?? 0n
    expect(known).toBeLessThanOrEqual(energy.measured?.nanojoules ?? 0n)
    expect(known % joule).toBe(0n)
    // A damaged beginning says nothing at all, in code.
    damaged.fill(0, 0, 64)
    writeFileSync(file, damaged)
    expect(await codeOf(async () => Ledger.read(directory))).toMatch(/^ERR_LEDGER_(EMPTY|SEGMENT)$/)
    expect(await codeOf(() => Ledger.open(directory, options(tree)))).toMatch(/^(ERR_LEDGER_SEGMENT|no error)$/)
  })

  it('two ledgers in one folder: the second is refused', async () => {
    using tree = onePackage()
    const directory = folder()
    await using _ledger = await Ledger.open(directory, options(tree))
    expect(await codeOf(() => Ledger.open(directory, options(tree)))).toBe('ERR_LEDGER_LOCKED')
    expect(await codeOf(() => Ledger.report(folder()))).toBe('ERR_LEDGER_EMPTY')
  })

  it('a clock that jumps changes neither time nor energy', async () => {
    using tree = onePackage()
    await using ledger = await Ledger.open(folder(), options(tree))
    const phase = ledger.phase('work')
    const real = Date.now()
    vi.spyOn(Date, 'now').mockReturnValue(real - 86_400_000)
    tree.add(zone, 4n * joule)
    await sleep(120)
    vi.spyOn(Date, 'now').mockReturnValue(real + 86_400_000)
    phase.end()
    const settled = await ledger.settle(phase)
    expect(Number(settled.durationNanoseconds) / 1e6).toBeGreaterThanOrEqual(100)
    expect(Number(settled.durationNanoseconds) / 1e6).toBeLessThan(60_000)
    expect(measured(ledger)).toBe(4n * joule)
  })

  it('a counter that goes back, or below zero, adds nothing that is called measured and plausible', async () => {
    using tree = onePackage()
    const events: LedgerEvent[] = []
    await using ledger = await Ledger.open(folder(), options(tree, { onEvent: (event) => events.push(event) }))
    tree.add(zone, 5n * joule)
    await sleep(100)
    await ledger.settle()
    const file = join(tree.root, zone, 'energy_uj')
    writeFileSync(file, '-5\n')
    await sleep(100)
    expect(measured(ledger)).toBe(5n * joule)
    // 5 J, then 2 J: as a wrap that would be 262 kJ in a tenth of a second.
    writeFileSync(file, '2000000\n')
    await sleep(100)
    await ledger.settle()
    const totals = ledger.totals()
    const outsideGaps = totals.entries
      .filter(({ kind, energyClass }) => kind !== 'gap' && energyClass === 'measured')
      .reduce((sum, { nanojoules }) => sum + nanojoules, 0n)
    expect(outsideGaps).toBeLessThan(1000n * joule)
    await sleep(1100)
    expect(events.map(({ code }) => code).join(' ') + totals.gaps.map(({ reason: why }) => why).join(' ')).not.toBe('')
  })

  it('an unknown zone and an expired key are errors of the report, not of the ledger', async () => {
    using tree = onePackage()
    const directory = folder()
    await using ledger = await Ledger.open(directory, options(tree))
    expect(await codeOf(() => ledger.report({ zone: 'ATLANTIS' }))).toBe('ERR_CARBON_ZONE')
    await using server = await FakeCarbonServer.start()
    const carbon = new ElectricityMapsProvider({ baseUrl: server.electricityMapsUrl, token: 'expired', retries: 0 })
    expect(await codeOf(() => ledger.report({ zone: 'DEU', carbon }))).toBe('ERR_CARBON_KEY')
    expect((await ledger.report()).rows).toEqual([])
  })

  it('an event loop blocked for 5 s changes no total', async () => {
    using tree = onePackage()
    const directory = folder()
    const ledger = await Ledger.open(directory, options(tree))
    const phase = ledger.phase('blocked')
    // Another process spends, so that the counter moves while nothing in this one can.
    const file = join(tree.root, zone, 'energy_uj')
    const script = `n=0; while [ $n -lt 80 ]; do n=$((n+1)); echo $((n*500000)) > "${file}"; sleep 0.05; done`
    const child = spawn('sh', ['-c', script], { stdio: 'ignore' })
    const exited = new Promise((resolve) => child.once('exit', resolve))
    // Blocked for 5 s, and on a busy machine until the other process has spent all and the sampler has seen it.
    const begun = performance.now()
    const hasAll = (): boolean => readFileSync(file, 'utf8').trim() === '40000000' && measured(ledger) === 40n * joule
    for (let next = begun + 5000; performance.now() < begun + 50_000; next += 50) {
      while (performance.now() < next);
      if (hasAll()) break
    }
    phase.end()
    await exited
    const settled = await ledger.settle(phase)
    const totals = await ledger.close()
    expect(totals.energy.measured?.nanojoules).toBe(40n * joule)
    expect(settled.active.measured?.nanojoules ?? 0n).toBeGreaterThan(39n * joule)
    const { samples, ok } = await Ledger.verify(directory)
    expect(ok).toBe(true)
    expect(samples).toBeGreaterThan(20)
  })
})
