import {
  buildReport,
  type CarbonProvider,
  ElectricityMapsProvider,
  Ledger,
  type LedgerSeries,
  mergeReport,
  StaticCarbonProvider,
  UkCarbonProvider,
  WattTimeProvider,
} from '@swift/energy'
import { FakeCarbonServer } from '@swift/testing'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { runSwift, type SwiftRun } from './command/run-swift.ts'
import { codeOf, folder, joule, ledgerOptions, meteredLedger, needsMeter, onePackage, zone } from './energy-support.ts'

const hour = 3_600_000
const noon = Date.parse('2026-03-04T12:00:00Z')

/** 100 g/kWh at noon, 200 an hour later, and so on. */
const gramsAt = (unixMs: number): number => 100 * (1 + Math.floor((unixMs - noon) / hour))

let server: FakeCarbonServer
beforeEach(async (context) => {
  needsMeter(context)
  server = await FakeCarbonServer.start({ gramsAt })
})
afterEach(() => server[Symbol.asyncDispose]())

// No limit of time that a busy machine could pass on the loopback; nothing here waits for its end.
const quick = { backoffMs: 1, retries: 0, timeoutMs: 30_000 }
const electricityMaps = (token = server.token): CarbonProvider =>
  new ElectricityMapsProvider({ ...quick, baseUrl: server.electricityMapsUrl, token })

/** A ledger of three phases of 2 J each, and a series of it in which each phase has an hour of its own. */
async function threeHours(): Promise<{ directory: string; series: LedgerSeries }> {
  using tree = onePackage()
  const directory = folder()
  const ledger = await Ledger.open(directory, ledgerOptions(tree))
  for (const path of ['noon', 'one', 'two']) {
    const phase = ledger.phase(path)
    // In steps, as power comes: a leap between two readings may belong to the time before the phase.
    for (let step = 0; step < 8; step += 1) {
      tree.add(zone, joule / 4n)
      await sleep(25)
    }
    phase.end()
  }
  await ledger.close()
  const { parts, runId } = await Ledger.series(directory)
  const { entries } = Ledger.read(directory)
  const points = ['noon', 'one', 'two'].map((path, index) => ({
    part: 0,
    startUnixMs: noon + index * hour + 1_200_000,
    endUnixMs: noon + index * hour + 1_201_000,
    gains: entries.filter((entry) => entry.path === path || (entry.path === '' && index === 0)),
  }))
  return { directory, series: { runId, parts, points } }
}

/** Grams of the measured energy of a series, from nothing but its points. */
const gramsByHand = ({ points }: LedgerSeries): number =>
  points
    .flatMap(({ startUnixMs, gains }) => gains.map((gain) => ({ ...gain, grams: gramsAt(startUnixMs) })))
    .filter(({ energyClass }) => energyClass === 'measured')
    .reduce((sum, { nanojoules, grams }) => sum + (Number(nanojoules) / 3.6e15) * grams, 0)

describe('a report with carbon over time', () => {
  const providers: readonly [string, string, string, () => CarbonProvider][] = [
    ['electricity-maps', 'DE', 'location-average', () => electricityMaps()],
    [
      'watttime',
      'CAISO_NORTH',
      'location-marginal',
      () => new WattTimeProvider({ ...quick, baseUrl: server.wattTimeUrl, ...server.account }),
    ],
    ['uk', 'GBR', 'location-average', () => new UkCarbonProvider({ ...quick, baseUrl: server.ukUrl })],
  ]
  it.each(providers)('joins each hour with the factor of %s for it', async (_name, place, kind, provider) => {
    const { directory, series } = await threeHours()
    const totals = Ledger.read(directory)
    const report = await buildReport(totals, { per: 'phase', carbon: provider(), zone: place, series, pue: 1.5 })
    expect(report.factors.map(({ gramsPerKilowattHour }) => Math.round(gramsPerKilowattHour))).toEqual([100, 200, 300])
    expect(report.factor).toMatchObject({ kind, licence: expect.stringMatching(/./) as string })
    expect(report.factor.validFor).toContain(' … ')
    expect(report.factor.source).not.toBe('')
    expect(report.machine.carbon.measured?.grams).toBeCloseTo(1.5 * gramsByHand(series), 9)
    // Each phase was used in one hour: its grams are its joules at that hour's factor, whatever the mean is.
    for (const [index, key] of ['noon', 'one', 'two'].entries()) {
      const { active, carbon } = report.rows.find((row) => row.key === key) ?? {}
      const kilowattHours = Number(active?.measured?.nanojoules) / 3.6e15
      expect(carbon?.measured?.grams).toBeCloseTo(1.5 * kilowattHours * 100 * (index + 1), 9)
      expect(carbon?.measured?.lowGrams).toBeLessThan(carbon?.measured?.grams ?? 0)
    }
    const rows = [
      report.machine,
      ...(await buildReport(totals, { per: 'account', carbon: provider(), zone: place, series, pue: 1.5 })).rows,
    ]
    const [machine, ...accounts] = rows.map(({ carbon }) => carbon.measured?.grams ?? 0)
    expect(accounts.reduce((sum, grams) => sum + grams, 0)).toBeCloseTo(machine ?? 0, 9)
  })

  it('is read by the ledger itself, open and closed, and by a merge', async () => {
    using tree = onePackage()
    const directory = folder()
    // All of it within one hour, which has one factor.
    if (hour - (Date.now() % hour) < 20_000) await sleep(hour - (Date.now() % hour))
    const ledger = await Ledger.open(directory, ledgerOptions(tree))
    // Nothing is committed yet, and the energy since the last commit has its factor too.
    tree.add(zone, joule)
    await sleep(60)
    const factor = gramsAt(Date.now())
    const options = { carbon: electricityMaps(), zone: 'DE' }
    for (const report of [
      await ledger.report(options),
      await ledger.close().then(() => Ledger.report(directory, options)),
      await mergeReport([directory, directory], options),
    ]) {
      const { measured } = report.machine.energy
      expect(measured?.nanojoules).toBe(joule)
      expect(report.machine.carbon.measured?.grams).toBeCloseTo(factor / 3.6e6, 9)
      expect(report.factorNote).toBeUndefined()
    }
    const totals = Ledger.read(directory)
    expect((await buildReport(totals, options)).factorNote).toContain('one factor, of now')
    expect((await buildReport(totals, { carbon: new StaticCarbonProvider() })).factorNote).toBeUndefined()
  })

  it('has the yearly factor, labelled, where the provider fails and that was asked for; else its error', async () => {
    const { directory, series } = await threeHours()
    const totals = Ledger.read(directory)
    const failing: readonly [CarbonProvider, string, string][] = [
      [electricityMaps('expired'), 'DE', 'ERR_CARBON_KEY'],
      [electricityMaps(), 'FR', 'ERR_CARBON_ZONE'],
      [
        new ElectricityMapsProvider({ ...quick, token: 'x', baseUrl: 'http://127.0.0.1:1' }),
        'DE',
        'ERR_CARBON_UNREACHABLE',
      ],
    ]
    for (const [carbon, place, code] of failing) {
      const options = { carbon, zone: place, series }
      expect(await codeOf(() => buildReport(totals, options))).toBe(code)
      const { factor, factorNote, machine } = await buildReport(totals, { ...options, carbonFallback: true })
      expect(factorNote).toContain(code)
      expect(factorNote).toContain(`the yearly factor of ${factor.zone} stands in for electricity-maps in ${place}`)
      expect(factor).toMatchObject({ zone: place === 'DE' ? 'DEU' : 'FRA', validFor: '2024' })
      const kilowattHours = Number(machine.energy.measured?.nanojoules) / 3.6e15
      expect(machine.carbon.measured?.grams).toBeCloseTo(kilowattHours * factor.gramsPerKilowattHour, 12)
      expect((await mergeReport([directory], { ...options, carbonFallback: true })).factorNote).toContain(code)
    }
    // No factor stands in for a place that nobody knows.
    const nowhere = { carbon: electricityMaps(), zone: 'ATLANTIS', series, carbonFallback: true }
    expect(await codeOf(() => buildReport(totals, nowhere))).toBe('ERR_CARBON_ZONE')
  })
})

describe('swift energy report --carbon', () => {
  const environment = (): Readonly<Record<string, string>> => ({
    ELECTRICITY_MAPS_URL: server.electricityMapsUrl,
    ELECTRICITY_MAPS_TOKEN: server.token,
    WATTTIME_URL: server.wattTimeUrl,
    WATTTIME_USERNAME: server.account.username,
    WATTTIME_PASSWORD: server.account.password,
    UK_CARBON_URL: server.ukUrl,
  })

  it('prints source, time, kind and licence of every provider, and what stands in for one that fails', async () => {
    const ledger = await meteredLedger(50)
    const env = environment()
    const report = async (...words: string[]): Promise<string> => {
      const { code, stdout, stderr } = await runSwift(['energy', 'report', ledger, ...words], { env })
      expect(code, stderr).toBe(0)
      expect(stdout).toContain('exactly: 50 J measured')
      return stdout
    }
    const day = new Date().toISOString().slice(0, 8)
    const em = await report('--carbon', 'electricity-maps', '--zone', 'DEU')
    expect(em).toMatch(/carbon factor DE .*location-average · Electricity Maps API v3.* · 20.*Electricity Maps terms/)
    expect(em).toContain(` · ${day}`)
    expect(await report('--carbon', 'watttime', '--zone', 'CAISO_NORTH')).toMatch(
      /location-marginal · WattTime API v3, co2_moer · 20.* · WattTime terms/,
    )
    expect(await report('--carbon', 'uk', '--zone', 'GBR')).toMatch(
      /location-average · Carbon Intensity API.*CC BY 4\.0/,
    )
    expect(await report('--carbon', 'static', '--zone', 'FRA')).toMatch(
      /44\.2 g\/kWh, location-average · Ember.*2024 · CC BY 4\.0/,
    )
    server.expireKeys()
    const fallen = await report('--carbon', 'electricity-maps', '--zone', 'DEU', '--carbon-fallback')
    expect(fallen).toMatch(/carbon factor DEU 342 g\/kWh.*2024/)
    expect(fallen).toContain(
      'carbon note: the yearly factor of DEU stands in for electricity-maps in DEU: ERR_CARBON_KEY',
    )
  })

  it('is asked before a command runs for hours', async () => {
    const env = environment()
    const run = (words: readonly string[]): Promise<SwiftRun> =>
      runSwift(['energy', 'run', '--out', `${folder()}/l`, ...words, '--', 'sh', '-c', 'echo begun; exit 3'], { env })
    const { code, stderr } = await run(['--carbon', 'uk', '--zone', 'GBR'])
    expect(code, stderr).toBe(3)
    expect(stderr).toContain('Carbon Intensity API')
    server.expireKeys()
    const words = ['--carbon', 'electricity-maps', '--zone', 'DE']
    const refused = await run(words)
    expect([refused.code, refused.stdout]).toEqual([2, ''])
    expect(refused.stderr).toContain('ERR_CARBON_KEY')
    const allowed = await run([...words, '--carbon-fallback'])
    expect([allowed.code, allowed.stdout]).toEqual([3, 'begun\n'])
    expect(allowed.stderr).toContain('the yearly factor of DEU stands in for electricity-maps in DE: ERR_CARBON_KEY')
  })

  it('may fail while the command runs: the yearly factor stands in, labelled, and joules and exit code are whole', async () => {
    using tree = onePackage()
    const counter = join(tree.root, zone, 'energy_uj')
    // The command's clock is an hour ahead of the ledger's, so that the hour of the run is a past one, which was not asked for before.
    const clock = join(folder(), 'clock.mjs')
    writeFileSync(
      clock,
      `const Real = Date
       const now = () => Real.now() + ${hour}
       globalThis.Date = class extends Real {
         constructor(...words) {
           if (words.length === 0) super(now())
           else super(...words)
         }
         static now() {
           return now()
         }
       }`,
    )
    const ledger = join(folder(), 'l')
    const script = `echo begun; n=0; while [ $n -lt 10 ]; do n=$((n+1)); echo $((n*500000)) > ${counter}; sleep 0.05; done; sleep 0.5; exit 3`
    const words = [
      'energy',
      'run',
      '--out',
      ledger,
      '--carbon',
      'electricity-maps',
      '--zone',
      'DE',
      '--',
      'sh',
      '-c',
      script,
    ]
    const { code, stderr } = await runSwift(words, {
      env: { ...environment(), NODE_OPTIONS: `--import ${clock}`, SWIFT_POWERCAP_ROOT: tree.root },
      onOutput: () => server.expireKeys(),
    })
    expect(code, stderr).toBe(3)
    expect(server.requests.at(-1)).toContain('carbon-intensity/past')
    expect(stderr).toContain('the yearly factor of DEU stands in for electricity-maps in DE: ERR_CARBON_KEY')
    expect(stderr).toMatch(/carbon factor DEU 342 g\/kWh/)
    expect(stderr).toContain('exactly 5 J measured')
    expect(Ledger.read(ledger).energy.measured?.nanojoules).toBe(5n * joule)
  })
})
