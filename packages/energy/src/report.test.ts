import { describe, expect, it } from 'vitest'
import type { AccountKind, EnergySourceDescriptor, LedgerEntry, LedgerTotals } from '@swift/spec'
import { buildReport } from './report.ts'
import { sumEntries } from './amounts.ts'
import { uncertaintyLookup } from './read-state.ts'
import { StaticCarbonProvider } from './carbon/static-carbon-provider.ts'

const joule = 1_000_000_000n

function source(
  id: string,
  provenance: EnergySourceDescriptor['provenance'],
  relativeUncertainty: number,
): EnergySourceDescriptor {
  return {
    id,
    kind: provenance === 'modelled' ? 'memory_model' : 'rapl_perf',
    scope: 'package',
    label: id,
    parent: undefined,
    provenance,
    state: 'included',
    reason: '',
    method: '',
    relativeUncertainty,
    modulusNanojoules: undefined,
  }
}

const sources = [source('cpu', 'measured_counter', 0.02), source('memory', 'modelled', 0.5)]

function entry(from: string, kind: AccountKind, path: string, joules: bigint): LedgerEntry {
  return {
    source: from,
    energyClass: from === 'memory' ? 'modelled' : 'measured',
    kind,
    path,
    nanojoules: joules * joule,
    belowNanojoules: 0n,
    aboveNanojoules: 0n,
  }
}

const entries = [
  entry('cpu', 'phase', 'load', 10n),
  entry('cpu', 'phase', 'train/epoch:10/forward', 100n),
  entry('cpu', 'phase', 'train/epoch:2/forward', 200n),
  entry('cpu', 'phase', 'train/epoch:2/backward', 300n),
  entry('memory', 'phase', 'train/epoch:2/backward', 30n),
  entry('cpu', 'idle', 'train/epoch:2/backward', 40n),
  entry('cpu', 'idle', '', 5n),
  entry('cpu', 'other_tenants', '', 7n),
  entry('cpu', 'rework', 'train/epoch:2/forward', 50n),
]

const totals: LedgerTotals = {
  runId: 'run',
  segment: 1,
  sequence: 1,
  chainHash: '',
  durationNanoseconds: 2_000_000_000n,
  sources,
  entries,
  gaps: [],
  fits: [],
  mergeNotes: [],
  energy: sumEntries(entries, uncertaintyLookup(sources)),
}

describe('buildReport', () => {
  it('groups by epoch in the order of their numbers', async () => {
    const report = await buildReport(totals, { per: 'epoch' })
    expect(report.rows.map((row) => row.key).sort()).toEqual(['epoch:10', 'epoch:2', 'load'])
    expect(report.rows.findIndex((row) => row.key === 'epoch:2')).toBeLessThan(
      report.rows.findIndex((row) => row.key === 'epoch:10'),
    )
    const epoch = report.rows.find((row) => row.key === 'epoch:2')
    expect(epoch?.active.measured?.nanojoules).toBe(500n * joule)
    expect(epoch?.idle.measured?.nanojoules).toBe(40n * joule)
    expect(epoch?.energy.measured?.nanojoules).toBe(540n * joule)
    expect(epoch?.energy.modelled?.nanojoules).toBe(30n * joule)
    expect(report.rows.find((row) => row.key === 'load')?.energy.modelled).toBeUndefined()
  })

  it('drops counters to sum a class of phases', async () => {
    const report = await buildReport(totals, { per: 'phase' })
    const forward = report.rows.find((row) => row.key === 'train/forward')
    expect(forward?.active.measured?.nanojoules).toBe(300n * joule)
  })

  it('adds rows up to the machine, account by account', async () => {
    const report = await buildReport(totals, { per: 'account' })
    const sum = report.rows.reduce((total, row) => total + (row.energy.measured?.nanojoules ?? 0n), 0n)
    expect(sum).toBe(report.machine.energy.measured?.nanojoules)
    expect(report.machine.energy.measured?.nanojoules).toBe(712n * joule)
    expect(report.phases.energy.measured?.nanojoules).toBe(650n * joule)
  })

  it('derives carbon from factor and PUE and leaves the joules alone', async () => {
    const plain = await buildReport(totals, { zone: 'FRA' })
    const housed = await buildReport(totals, { zone: 'fra', pue: 1.5 })
    expect(plain.factor).toMatchObject({
      zone: 'FRA',
      gramsPerKilowattHour: 44.2,
      validFor: '2024',
      licence: 'CC BY 4.0',
    })
    expect(housed.machine.energy).toEqual(plain.machine.energy)
    const grams = (712 / 3.6e6) * 44.2
    expect(plain.machine.carbon.measured?.grams).toBeCloseTo(grams, 12)
    expect(housed.machine.carbon.measured?.grams).toBeCloseTo(grams * 1.5, 12)
    expect(plain.machine.carbon.measured?.lowGrams).toBeCloseTo(grams * 0.98, 9)
  })

  it('refuses unknown zones and impossible PUEs with codes', async () => {
    await expect(buildReport(totals, { zone: 'ATLANTIS' })).rejects.toMatchObject({ code: 'ERR_CARBON_ZONE' })
    await expect(buildReport(totals, { pue: 0.9 })).rejects.toMatchObject({ code: 'ERR_ENERGY_PUE' })
    expect(StaticCarbonProvider.zones()).toContain('WORLD')
  })
})
