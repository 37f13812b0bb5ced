import { readdirSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Ledger } from '@swift/energy'
import type { LedgerEvent, MarkEdge } from '@swift/spec'
import { FakePowercapTree } from '@swift/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { runSwift } from './command/run-swift.ts'
import {
  credited,
  folder,
  joule,
  ledgerOptions as options,
  measuredOf,
  needsMeter,
  onePackage,
  zone,
} from './energy-support.ts'

beforeEach(needsMeter)

describe('Ledger', () => {
  it('gives phases the joules of their counter, and reads them back from disk', async () => {
    using tree = onePackage()
    const directory = folder()
    const ledger = await Ledger.open(directory, options(tree))
    const epoch = ledger.phase('train/epoch:0')
    const forward = epoch.phase('forward')
    tree.add(zone, 7n * joule)
    forward.end()
    epoch.end()
    const settled = await ledger.settle(epoch)
    const report = await ledger.report({ per: 'epoch' })
    // The joules fell into one sampling interval: phases and the time around them share it.
    const totals = await ledger.close()
    expect(totals.energy.measured?.nanojoules).toBe(7n * joule)
    expect(credited(totals.entries, ['phase', 'unattributed', 'overhead'])).toBe(7n * joule)
    expect(measuredOf(settled.active)).toBe(credited(totals.entries, ['phase']))
    expect(report.rows.map((row) => row.key)).toEqual(['epoch:0'])
    const fromDisk = await Ledger.report(directory, { per: 'account' })
    expect(measuredOf(fromDisk.machine.energy)).toBe(7n * joule)
    expect(await Ledger.verify(directory)).toMatchObject({ ok: true, findings: [], tornBytes: 0 })
  })

  it('measures on while the event loop is blocked', async () => {
    using tree = onePackage()
    await using ledger = await Ledger.open(folder(), options(tree))
    await ledger.settle()
    const phase = ledger.phase('blocked')
    // Long beside the delay of a sample on a busy machine: a fifth of it is 600 ms.
    const until = performance.now() + 3000
    while (performance.now() < until) tree.add(zone, joule / 1000n)
    phase.end()
    const settled = await ledger.settle(phase)
    const totals = ledger.totals()
    const spent = totals.energy.measured?.nanojoules ?? 0n
    expect(spent).toBeGreaterThan(0n)
    // All of it but what fell between two samples at the edges.
    expect(Number(measuredOf(settled.active) ?? 0n)).toBeGreaterThan(Number(spent) * 0.8)
  })

  it('takes the marks of a stream when the stream reaches them', async () => {
    using tree = onePackage()
    await using ledger = await Ledger.open(folder(), options(tree))
    const queue: [number, MarkEdge][] = []
    const phase = ledger.phase('device', { stream: { mark: (token, edge) => void queue.push([token, edge]) } })
    phase.end()
    expect(queue.map(([, edge]) => edge)).toEqual(['begin', 'end'])
    for (const [token, edge] of queue) {
      ledger.markNow(token, edge)
      if (edge === 'begin') await sleep(120)
    }
    const settled = await ledger.settle(phase)
    expect(Number(settled.durationNanoseconds) / 1e6).toBeGreaterThanOrEqual(100)
  })

  it('goes back to a checkpoint: the lost work is rework, the run goes on', async () => {
    using tree = onePackage()
    const directory = folder()
    const work = async (ledger: Ledger, joules: bigint) => {
      const phase = ledger.phase('train')
      await sleep(100)
      // In steps, as power comes: a leap between two readings says little about when it was spent.
      for (let step = 0; step < 10; step += 1) {
        tree.add(zone, (joules * joule) / 10n)
        await sleep(20)
      }
      await sleep(100)
      phase.end()
      return ledger.settle(phase)
    }
    const first = await Ledger.open(directory, options(tree))
    await work(first, 3n)
    const snapshot = await first.snapshot()
    expect(JSON.parse(JSON.stringify(snapshot))).toEqual(snapshot)
    await work(first, 5n)
    await first.close()
    const second = await Ledger.open(directory, options(tree, { resume: snapshot }))
    expect(second.runId).toBe(first.runId)
    await work(second, 4n)
    const totals = await second.close()
    const { entries } = totals
    const [rework, phases] = [credited(entries, ['rework']), credited(entries, ['phase'])]
    expect(totals.energy.measured?.nanojoules).toBe(12n * joule)
    // The sampler's own share and what fell outside the phases are small, and not a nanojoule is missing.
    expect(credited(entries, ['rework', 'phase', 'unattributed', 'overhead'])).toBe(12n * joule)
    expect(Number(rework) / 1e9).toBeGreaterThan(4)
    expect(rework).toBeLessThanOrEqual(5n * joule)
    expect(Number(phases) / 1e9).toBeGreaterThan(5)
    expect(phases).toBeLessThanOrEqual(7n * joule)
    expect(await Ledger.verify(directory)).toMatchObject({ ok: true, segments: 2 })
    await expect(Ledger.open(directory, options(tree, { resume: 'never' }))).rejects.toMatchObject({
      code: 'ERR_LEDGER_EXISTS',
    })
    await expect(
      Ledger.open(directory, options(tree, { resume: { ...snapshot, runId: 'another' } })),
    ).rejects.toMatchObject({ code: 'ERR_LEDGER_SNAPSHOT' })
  })

  it('separates idle power measured before the run', async () => {
    using tree = onePackage()
    const feeder = setInterval(() => tree.add(zone, joule / 100n), 10)
    const events: LedgerEvent[] = []
    const ledger = await Ledger.open(
      folder(),
      options(tree, { idle: { seconds: 0.5 }, onEvent: (event) => events.push(event) }),
    )
    const phase = ledger.phase('waiting')
    await sleep(300)
    phase.end()
    const settled = await ledger.settle(phase)
    clearInterval(feeder)
    await ledger.close()
    if (events.some((event) => event.code === 'WARN_ENERGY_IDLE_BASELINE')) {
      // A busy machine has no idle power to measure, and the ledger says so.
      expect(measuredOf(settled.idle)).toBe(0n)
      return
    }
    expect(Number(measuredOf(settled.idle) ?? 0n)).toBeGreaterThan(0)
  })

  it('tells how readings that hold several phases were divided', async () => {
    using tree = onePackage()
    const directory = folder()
    const ledger = await Ledger.open(directory, options(tree, { samplePeriodMs: 100 }))
    for (let step = 0; step < 30; step += 1) {
      for (const [name, joules] of [
        ['forward', 2n],
        ['backward', 5n],
      ] as const) {
        const phase = ledger.phase(`train/epoch:0/${name}`)
        tree.add(zone, joules * joule)
        await sleep(30)
        phase.end()
      }
    }
    await ledger.close()
    const { fits } = await Ledger.report(directory)
    expect(fits.map(({ source }) => source)).toEqual([`rapl_powercap:${zone}`])
    const [fit] = fits
    expect(fit?.condition).toBeGreaterThanOrEqual(1)
    expect(fit?.classes.map((one) => one.class)).toEqual(
      expect.arrayContaining(['train/epoch:*/forward', 'train/epoch:*/backward']),
    )
    const { stdout } = await runSwift(['energy', 'report', directory])
    expect(stdout).toMatch(
      /division of rapl_powercap:intel-rapl:0 over phases: regression over \d+ readings, condition number [\d.]+/,
    )
  })

  it('falls back to models, labelled, with intervals', async () => {
    const empty = new FakePowercapTree([])
    using _ = empty
    await using ledger = await Ledger.open(folder(), options(empty))
    const states = ledger.sources().map((source) => [source.id, source.provenance, source.state])
    expect(states).toContainEqual(['cpu_time_model', 'modelled', 'included'])
    const phase = ledger.phase('spin')
    const until = performance.now() + 200
    while (performance.now() < until);
    phase.end()
    const { active } = await ledger.settle(phase)
    expect(active.measured).toBeUndefined()
    const { nanojoules = 0n, lowNanojoules = 0n, highNanojoules = 0n } = active.modelled ?? {}
    expect(lowNanojoules).toBeLessThan(nanojoules)
    expect(highNanojoules).toBeGreaterThan(nanojoules)
    expect(Number(lowNanojoules) / Number(nanojoules)).toBeLessThanOrEqual(0.61)
  })

  it('survives a torn tail and says how many bytes it lost', async () => {
    using tree = onePackage()
    const directory = folder()
    const ledger = await Ledger.open(directory, options(tree))
    tree.add(zone, 2n * joule)
    await ledger.snapshot()
    await ledger.close()
    const [segment = ''] = readdirSync(directory).filter((name) => name.endsWith('.swj'))
    const path = join(directory, segment)
    truncateSync(path, statSync(path).size - 3)
    const check = await Ledger.verify(directory)
    expect(check.ok).toBe(true)
    expect(check.tornBytes).toBeGreaterThan(0)
    expect(Ledger.read(directory).energy.measured?.nanojoules).toBe(2n * joule)
  })

  it('answers mistakes with codes', async () => {
    using tree = onePackage()
    const directory = folder()
    const ledger = await Ledger.open(directory, options(tree))
    expect(() => ledger.phase('a//b')).toThrowError(expect.objectContaining({ code: 'ERR_ENERGY_PHASE_PATH' }))
    const open = ledger.phase('open')
    await expect(ledger.settle(open)).rejects.toMatchObject({ code: 'ERR_ENERGY_PHASE_OPEN' })
    await expect(Ledger.open(directory, options(tree))).rejects.toMatchObject({ code: 'ERR_LEDGER_LOCKED' })
    await expect(Ledger.open(folder(), options(tree, { commitMs: 5000 }))).rejects.toMatchObject({
      code: 'ERR_LEDGER_OPTION',
    })
    await expect(Ledger.report(folder())).rejects.toMatchObject({ code: 'ERR_LEDGER_EMPTY' })
    await ledger.close()
    await ledger.close()
    await expect(ledger.snapshot()).rejects.toMatchObject({ code: 'ERR_LEDGER_CLOSED' })
    expect(() => ledger.phase('late')).toThrowError(expect.objectContaining({ code: 'ERR_LEDGER_CLOSED' }))
  })
})
