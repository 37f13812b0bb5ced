import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Ledger, type LedgerGain, type LedgerOptions } from '@swift/energy'
import type { FakePowercapTree } from '@swift/testing'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { folder, joule, ledgerOptions, needsMeter, onePackage, zone } from './energy-support.ts'

let directory: string
let tree: FakePowercapTree

beforeEach((context) => {
  needsMeter(context)
  directory = folder()
  tree = onePackage()
})

afterEach(() => tree[Symbol.dispose]())

async function spend(phase: string, resume: LedgerOptions['resume'] = 'auto'): Promise<Ledger> {
  const more = { samplePeriodMs: 10, commitMs: 20, sync: false, ...(resume === undefined ? {} : { resume }) }
  const ledger = await Ledger.open(directory, ledgerOptions(tree, more))
  using _phase = ledger.phase(phase)
  for (let turn = 0; turn < 5; turn++) {
    tree.add(zone, joule)
    await sleep(30)
    // A commit for each turn, however late the sampler is.
    await ledger.snapshot()
  }
  return ledger
}

function sums(gains: readonly LedgerGain[]): Readonly<Record<string, bigint>> {
  const found: Record<string, bigint> = {}
  for (const { source, kind, path, nanojoules } of gains) {
    const key = `${source} ${kind} ${path}`
    found[key] = (found[key] ?? 0n) + nanojoules
  }
  return Object.fromEntries(Object.entries(found).filter(([, nanojoules]) => nanojoules !== 0n))
}

describe('Ledger.series', () => {
  it('adds up to the entries to the nanojoule, over a resume that made rework', async () => {
    const first = await spend('train/forward')
    const snapshot = await first.snapshot()
    await sleep(50)
    await first.close()
    await (await spend('train/backward')).close()
    await (await spend('train/forward', snapshot)).close()

    const { entries, runId } = Ledger.read(directory)
    for (const maximumPoints of [1, 7, 400]) {
      const series = await Ledger.series(directory, { maximumPoints })
      const gains = [...series.parts.flatMap(({ moved }) => moved), ...series.points.flatMap((point) => point.gains)]
      expect(sums(gains)).toEqual(sums(entries))
      expect(series.runId).toBe(runId)
      expect(series.parts.map(({ closed }) => closed)).toEqual([true, true, true])
      expect(series.points.length).toBeLessThanOrEqual(maximumPoints + 3)
    }
    expect(entries.some(({ kind, nanojoules }) => kind === 'rework' && nanojoules > 0n)).toBe(true)
  })

  it('runs forward in time and labels each gain with its class', async () => {
    await (await spend('eval')).close()
    const { points } = await Ledger.series(directory)
    expect(points.length).toBeGreaterThan(3)
    for (const [index, { startUnixMs, endUnixMs }] of points.entries()) {
      expect(endUnixMs).toBeGreaterThanOrEqual(startUnixMs)
      if (index > 0) expect(startUnixMs).toBe(points[index - 1]?.endUnixMs)
    }
    const classes = Map.groupBy(
      points.flatMap(({ gains }) => gains),
      ({ energyClass }) => energyClass,
    )
    const isOf = (name: 'measured' | 'modelled', start: string): boolean | undefined =>
      classes.get(name)?.every(({ source }) => source.startsWith(start))
    expect(isOf('measured', 'rapl')).toBe(true)
    expect(isOf('modelled', 'memory')).toBe(true)
  })

  it('is of an open ledger too, and refuses an empty folder', async () => {
    await using ledger = await spend('eval')
    await ledger.snapshot()
    const { parts } = await Ledger.series(directory)
    expect(parts.map(({ closed }) => closed)).toEqual([false])
    await expect(Ledger.series(join(directory, 'nowhere'))).rejects.toMatchObject({ code: 'ERR_LEDGER_EMPTY' })
  })
})
