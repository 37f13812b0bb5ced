import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  Ledger,
  parseBudget,
  readCalibration,
  readCodecarbonCsv,
  segmentHeaders,
  UkCarbonProvider,
  WallMeterLog,
  WattTimeProvider,
  ElectricityMapsProvider,
} from '@swift/energy'
import { FakeCarbonServer } from '@swift/testing'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { expectRefusal } from './command/expect-refusal.ts'
import { runSwift } from './command/run-swift.ts'
import { codeOf, folder, joule, ledgerOptions, meteredLedger, needsMeter, onePackage, zone } from './energy-support.ts'

let server: FakeCarbonServer
beforeAll(async () => {
  server = await FakeCarbonServer.start()
})
afterAll(() => server[Symbol.asyncDispose]())
beforeEach(needsMeter)

function segmentOf(directory: string): string {
  const [name = ''] = readdirSync(directory).filter((file) => file.endsWith('.swj'))
  return join(directory, name)
}

/** A copy of a ledger with bytes of its journal changed. */
function damaged(ledger: string, change: (bytes: Buffer) => void): string {
  const copy = join(folder(), 'ledger')
  cpSync(ledger, copy, { recursive: true })
  const file = segmentOf(copy)
  const bytes = readFileSync(file)
  change(bytes)
  writeFileSync(file, bytes)
  return copy
}

function file(name: string, text: string): string {
  const path = join(folder(), name)
  writeFileSync(path, text)
  return path
}

/** Variables of the fake services, with keys that are not valid any more. */
function expired(): Readonly<Record<string, string>> {
  return {
    ELECTRICITY_MAPS_URL: server.electricityMapsUrl,
    ELECTRICITY_MAPS_TOKEN: 'expired',
    WATTTIME_URL: server.wattTimeUrl,
    WATTTIME_USERNAME: 'user',
    WATTTIME_PASSWORD: 'expired',
    UK_CARBON_URL: server.ukUrl,
  }
}

describe('swift energy, where something is wrong', () => {
  it('refuses a carbon provider that fails, with its code and what to do', async () => {
    const ledger = await meteredLedger(5)
    const report = (name: string, place: string): string[] => {
      return ['energy', 'report', ledger, '--carbon', name, '--zone', place]
    }
    const env = expired()
    const valid = { ...env, ELECTRICITY_MAPS_TOKEN: server.token, WATTTIME_PASSWORD: server.account.password }
    const table: readonly [string, readonly string[], Readonly<Record<string, string>>, RegExp][] = [
      ['ERR_CARBON_KEY', report('electricity-maps', 'DE'), env, /ELECTRICITY_MAPS_TOKEN/],
      ['ERR_CARBON_KEY', report('watttime', 'CAISO_NORTH'), env, /WATTTIME_USERNAME and WATTTIME_PASSWORD/],
      ['ERR_CARBON_ZONE', report('electricity-maps', 'XX'), valid, /zone key/],
      ['ERR_CARBON_ZONE', report('watttime', 'NOWHERE'), valid, /CAISO_NORTH/],
      ['ERR_CARBON_ZONE', report('uk', 'FRA'), valid, /GBR/],
      ['ERR_CARBON_ZONE', report('static', 'ATLANTIS'), valid, /FRA/],
      ['ERR_CARBON_UNREACHABLE', report('uk', 'GBR'), { UK_CARBON_URL: 'http://127.0.0.1:1' }, /network/],
      ['ERR_CARBON_PROVIDER', ['energy', 'report', ledger], { SWIFT_CARBON_PROVIDER: 'oracle' }, /electricity-maps/],
    ]
    for (const [code, words, variables, remedy] of table) {
      expect((await expectRefusal(words, code, { env: variables })).remedy).toMatch(remedy)
    }
    // The joules do not depend on any of it.
    expect((await runSwift(['energy', 'export', ledger, '--carbon', 'electricity-maps'], { env })).code).toBe(0)
  })

  it('refuses a journal that is damaged at its start, and reads no further than the damage elsewhere', async () => {
    const ledger = await meteredLedger(5)
    const broken = damaged(ledger, (bytes) => bytes.fill(0, 0, 64))
    for (const action of ['report', 'export', 'watch']) {
      await expectRefusal(['energy', action, broken], 'ERR_LEDGER_SEGMENT')
    }
    const late = damaged(ledger, (bytes) => {
      // Behind the header, which names the sources.
      const at = bytes.length - 200
      bytes[at] = (bytes[at] ?? 0) ^ 4
    })
    const { stdout: check } = await runSwift(['energy', 'verify', late, '--json'])
    expect(JSON.parse(check)).not.toMatchObject({ ok: true, tornBytes: 0 })
    const { code, stdout } = await runSwift(['energy', 'report', late])
    expect(code).toBe(0)
    expect(stdout).toContain('the figures end at the last commit that holds')
    expect(Number(/exactly: ([\d.]+) J measured/.exec(stdout)?.[1] ?? 0)).toBeLessThanOrEqual(5)
    const exported = await runSwift(['energy', 'export', late])
    expect(exported.stderr).toContain('the figures end at the last commit that holds')
    expect((await runSwift(['energy', 'report', ledger])).stdout).not.toContain('journal')
  })

  it('refuses a folder that another ledger writes to or has written to', async () => {
    using tree = onePackage()
    const directory = folder()
    const ledger = await Ledger.open(directory, ledgerOptions(tree))
    const words = ['energy', 'run', '--out', directory, '--', 'echo', 'begun']
    await expectRefusal(words, 'ERR_LEDGER_LOCKED')
    await ledger.close()
    await expectRefusal(words, 'ERR_LEDGER_EXISTS')
  })

  it('says what it cannot read, and calls nothing measured that is not', async () => {
    using tree = onePackage()
    const counter = join(tree.root, zone, 'energy_uj')
    const env = { SWIFT_POWERCAP_ROOT: tree.root }
    // Forward 5 J, a value below zero, then back to 2 J: as a wrap that would be 262 kJ.
    const script = `for value in 2500000 5000000 -5 2000000 3000000; do echo $value > ${counter}; sleep 0.2; done`
    const ledger = join(folder(), 'ledger')
    const run = await runSwift(['energy', 'run', '--out', ledger, '--', 'sh', '-c', script], { env })
    expect(run.code).toBe(0)
    expect(run.stderr).toMatch(/WARN_ENERGY_|ERR_ENERGY_|gap/)
    const { stdout } = await runSwift(['energy', 'export', ledger])
    const measured = stdout
      .split('\n')
      .flatMap((line) => (line.includes('"type":"entry"') ? [JSON.parse(line) as Record<string, string>] : []))
      .filter(({ energyClass, kind }) => energyClass === 'measured' && kind !== 'gap')
      .reduce((sum, { nanojoules = '0' }) => sum + BigInt(nanojoules), 0n)
    expect(measured).toBeLessThanOrEqual(6n * joule)
    rmSync(counter)
    const blind = await runSwift(['energy', 'run', '--out', join(folder(), 'l'), '--', 'true'], { env })
    expect(blind.code).toBe(0)
    expect(blind.stderr).toContain('these joules are modelled, not measured')
    expect(blind.stderr).not.toMatch(/\d J measured/)
    const { stdout: doctor } = await runSwift(['energy', 'doctor', '--json'], { env })
    const { findings } = JSON.parse(doctor) as { findings: { source: string; verdict: string; why: string }[] }
    expect(findings.find(({ source }) => source.includes(zone))).toMatchObject({ verdict: 'unavailable' })
  })

  const empty = (): string => folder()
  const missing = (): string => join(folder(), 'nowhere')
  const table: readonly [string, () => readonly string[]][] = [
    ['ERR_ARGUMENT_UNEXPECTED', () => ['energy', 'measure']],
    ['ERR_ARGUMENT_MISSING', () => ['energy', 'report']],
    ['ERR_ARGUMENT_MISSING', () => ['energy', 'run']],
    ['ERR_ARGUMENT_MISSING', () => ['energy', 'merge']],
    ['ERR_ARGUMENT_MISSING', () => ['energy', 'calibrate']],
    ['ERR_ARGUMENT_MISSING', () => ['energy', 'import']],
    ['ERR_LEDGER_MISSING', () => ['energy', 'report', missing()]],
    ['ERR_LEDGER_EMPTY', () => ['energy', 'report', empty()]],
    ['ERR_LEDGER_EMPTY', () => ['energy', 'merge', empty(), '--carbon', 'uk', '--zone', 'GBR']],
    ['ERR_CODECARBON_FILE', () => ['energy', 'import', missing()]],
    ['ERR_CODECARBON_FILE', () => ['energy', 'import', file('emissions.csv', 'a,b\n1,2\n')]],
    ['ERR_CALIBRATION_DATA', () => ['energy', 'calibrate', missing(), empty()]],
    ['ERR_CALIBRATION_FILE', () => ['energy', 'report', empty(), '--calibration', file('c.json', 'null')]],
    ['ERR_ENERGY_BUDGET', () => ['energy', 'run', '--budget', '5 cows', '--', 'true']],
    ['ERR_OPTION_INVALID', () => ['energy', 'run', '--deadline', 'yesterday', '--', 'true']],
    ['ERR_CARBON_FORECAST', () => ['energy', 'run', '--deadline', '2h', '--', 'true']],
    ['ERR_OPTION_INVALID', () => ['energy', 'report', empty(), '--price', 'free']],
    ['ERR_OPTION_INVALID', () => ['energy', 'report', empty(), '--embodied', '164kg']],
    ['ERR_OPTION_INVALID', () => ['energy', 'report', empty(), '--pue', '0.5']],
    ['ERR_OPTION_INVALID', () => ['energy', 'report', empty(), '--per', 'cow']],
  ]
  it.each(table)('answers with %s and exit code 2', async (code, words) => {
    await expectRefusal(words(), code)
  })
})

describe('the library, where something is wrong', () => {
  // Longer than a busy machine makes a service on the loopback wait; only silence waits for its end.
  const quick = { backoffMs: 1, retries: 0, timeoutMs: 30_000 }
  const now = (): Date => new Date()
  const table: readonly [string, () => unknown][] = [
    ['ERR_LEDGER_EMPTY', () => Ledger.read(folder())],
    ['ERR_LEDGER_EMPTY', () => Ledger.series(folder())],
    ['ERR_LEDGER_EMPTY', () => Ledger.report(folder())],
    ['ERR_LEDGER_EMPTY', () => segmentHeaders(folder())],
    ['ERR_LEDGER_OPTION', () => Ledger.open(folder(), { commitMs: 5000 })],
    ['ERR_LEDGER_IO', () => Ledger.open(join(file('f', ''), 'inside'))],
    [
      'ERR_LEDGER_IO',
      () => {
        const directory = folder()
        mkdirSync(join(directory, 'notes.jsonl'))
        return Ledger.notes(directory)
      },
    ],
    [
      'ERR_CARBON_KEY',
      () =>
        new ElectricityMapsProvider({ ...quick, baseUrl: server.electricityMapsUrl, token: '' }).doFactor('DE', now()),
    ],
    [
      'ERR_CARBON_KEY',
      () =>
        new WattTimeProvider({ ...quick, baseUrl: server.wattTimeUrl, username: 'u', password: 'p' }).doFactor(
          'X',
          now(),
        ),
    ],
    ['ERR_CARBON_ZONE', () => new UkCarbonProvider({ ...quick, baseUrl: server.ukUrl }).doFactor('FRA', now())],
    [
      'ERR_CARBON_RATE_LIMIT',
      () => {
        server.failNext(1, 429)
        return new UkCarbonProvider({ ...quick, baseUrl: server.ukUrl }).doFactor('GBR', now())
      },
    ],
    [
      'ERR_CARBON_UNREACHABLE',
      async () => {
        await using silent = await FakeCarbonServer.start()
        silent.fallSilent()
        await new UkCarbonProvider({ ...quick, timeoutMs: 100, baseUrl: silent.ukUrl }).doFactor('GBR', now())
      },
    ],
    [
      'ERR_CARBON_RESPONSE',
      async () => {
        await using odd = await FakeCarbonServer.start({ gramsAt: () => -1 })
        await new UkCarbonProvider({ ...quick, baseUrl: odd.ukUrl }).doFactor('GBR', now())
      },
    ],
    ['ERR_ENERGY_BUDGET', () => parseBudget('as little as possible')],
    ['ERR_CALIBRATION_DATA', () => WallMeterLog.read(join(folder(), 'nowhere.csv'))],
    ['ERR_CALIBRATION_DATA', () => WallMeterLog.parse('unix_ms,watts\n1000,5\n900,5\n', 'meter.csv')],
    ['ERR_CALIBRATION_FILE', () => readCalibration(file('c.json', '{"format":"another"}'))],
    ['ERR_CODECARBON_FILE', () => readCodecarbonCsv('a,b\n1,2\n')],
  ]
  it.each(table)('answers with %s', async (code, call) => {
    expect(await codeOf(call)).toBe(code)
  })
})
