import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describeSources, Ledger, type LedgerOptions, type RedfishOptions } from '@swift/energy'
import type { EnergyAmount, LedgerEvent, LedgerTotals } from '@swift/spec'
import { FakePowercapTree, FakeRedfishServer, PowerTrace } from '@swift/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { runSwift } from './command/run-swift.ts'
import { credited, folder, joule, needsMeter, onePackage, zone } from './energy-support.ts'

beforeEach(needsMeter)

/** Power that changes all the time, so that a reading taken at the wrong moment shows. */
const trace = new PowerTrace([
  { milliseconds: 0, watts: 210 },
  { milliseconds: 1500, watts: 210 },
  { milliseconds: 2500, watts: 420 },
  { milliseconds: 4000, watts: 300 },
  { milliseconds: 6000, watts: 380 },
])

/** A machine without any counter of its own. */
function bare(): FakePowercapTree {
  return new FakePowercapTree([])
}

function access(server: FakeRedfishServer, more: RedfishOptions = {}): RedfishOptions {
  return { url: server.url, user: server.user, password: server.password, pollMs: 100, ...more }
}

function options(tree: FakePowercapTree, redfish: RedfishOptions, more: LedgerOptions = {}): LedgerOptions {
  return {
    powercapRoot: tree.root,
    redfish,
    samplePeriodMs: 20,
    commitMs: 100,
    idle: { seconds: 0 },
    exclusive: true,
    ...more,
  }
}

/** What a machine spends while a ledger is open: the time to open and to close it is this process's, not the ledger's. */
interface Spent {
  /** Nanojoules from after it was opened until before it was closed. */
  readonly least: bigint
  /** Nanojoules from before it was opened until after it was closed. */
  readonly most: bigint
}

/** Opens a ledger, lets something happen, closes the ledger. */
async function metered(
  server: FakeRedfishServer,
  open: () => Promise<Ledger>,
  during: () => Promise<unknown>,
): Promise<{ readonly totals: LedgerTotals; readonly spent: Spent }> {
  const earliest = server.nanojoules
  const ledger = await open()
  const opened = server.nanojoules
  await during()
  const ending = server.nanojoules
  const totals = await ledger.close()
  return { totals, spent: { least: ending - opened, most: server.nanojoules - earliest } }
}

function expectInside(amount: EnergyAmount | undefined, spent: Spent): void {
  expect(amount).toBeDefined()
  expect(Number(spent.most)).toBeGreaterThanOrEqual(Number(amount?.lowNanojoules))
  expect(Number(spent.least)).toBeLessThanOrEqual(Number(amount?.highNanojoules))
}

/** All that a ledger has put on disk. */
function filesOf(directory: string): string {
  return readdirSync(directory)
    .map((name) => readFileSync(join(directory, name), 'latin1'))
    .join('\n')
}

describe('a management controller through Redfish', () => {
  for (const [shape, provenance] of [
    ['environment', 'integrated_power'],
    ['legacy', 'integrated_power'],
    ['sensors', 'integrated_power'],
    ['energy', 'measured_counter'],
  ] as const) {
    it(`measures the joules of the machine (${shape})`, async () => {
      using tree = bare()
      await using server = await FakeRedfishServer.start({ shape, trace })
      const directory = folder()
      const { totals, spent } = await metered(
        server,
        () => Ledger.open(directory, options(tree, access(server))),
        () => sleep(4000),
      )
      const counted = totals.sources.filter(({ state }) => state === 'included')
      expect(counted.map((source) => [source.kind, source.scope, source.provenance])).toEqual([
        ['redfish', 'wall', provenance],
      ])
      expectInside(totals.energy.measured, spent)
      expect(totals.energy.modelled).toBeUndefined()
      expect(totals.gaps).toEqual([])
      expect(await Ledger.verify(directory)).toMatchObject({ ok: true, findings: [] })
      // Every session that was begun is ended: controllers have few.
      expect(server.requests.filter((request) => request.startsWith('POST'))).toHaveLength(1)
      expect(server.openSessions).toBe(0)
      expect(filesOf(directory)).not.toContain(server.password)
    })
  }

  it('counts a reading that the controller repeats once, and asks no more often than it measures', async () => {
    using tree = bare()
    await using server = await FakeRedfishServer.start({ trace, sensingMs: 500, accuracyPercent: 10 })
    const { totals, spent } = await metered(
      server,
      () => Ledger.open(folder(), options(tree, access(server))),
      () => sleep(4000),
    )
    const { sources, energy } = totals
    const polls = server.requests.filter((request) => request === 'GET /redfish/v1/Chassis/1U/Sensors/total_power')
    expect(polls.length).toBeLessThan(14)
    expect(sources.find(({ state }) => state === 'included')?.relativeUncertainty).toBe(0.1)
    // What the last cached reading does not cover is at most one interval of 500 ms.
    const { nanojoules = 0n, highNanojoules = 0n } = energy.measured ?? {}
    expect(Number(spent.least)).toBeLessThanOrEqual(Number(highNanojoules) + 0.5 * 420e9)
    expect(Number(nanojoules)).toBeLessThanOrEqual(Number(spent.most) + 0.5 * 420e9)
  })

  it('renews a session that the controller has forgotten, without a gap', async () => {
    using tree = bare()
    await using server = await FakeRedfishServer.start({ trace })
    const { totals, spent } = await metered(
      server,
      () => Ledger.open(folder(), options(tree, access(server))),
      async () => {
        await sleep(1000)
        server.endSessions()
        await sleep(1500)
      },
    )
    const { energy, gaps } = totals
    expectInside(energy.measured, spent)
    expect(gaps).toEqual([])
    expect(server.requests.filter((request) => request.startsWith('POST'))).toHaveLength(2)
  })

  it('leaves a labelled gap where credentials expire, and no wrong number', async () => {
    using tree = bare()
    await using server = await FakeRedfishServer.start({ trace: PowerTrace.constant(300) })
    const directory = folder()
    const events: LedgerEvent[] = []
    const onEvent = (event: LedgerEvent): void => void events.push(event)
    const ledger = await Ledger.open(directory, options(tree, access(server), { onEvent }))
    await sleep(1000)
    server.expireCredentials()
    const logins = server.requests.filter((request) => request.startsWith('POST')).length
    const before = server.nanojoules
    await sleep(2500)
    const missed = server.nanojoules - before
    const { energy, gaps, durationNanoseconds } = await ledger.close()
    const [gap] = gaps
    expect(gap?.source).toBe('redfish:1U')
    expect(Number(gap?.durationNanoseconds) / 1e9).toBeGreaterThan(2)
    // Energy and gap together cover the time, at the power there was.
    const measured = energy.measured?.nanojoules ?? 0n
    expect(Number(measured)).toBeLessThan(300 * (Number(durationNanoseconds) - Number(missed) / 300 + 0.5e9))
    // Two tries to log in, and none more for a minute: a controller locks accounts.
    const tries = server.requests.filter((request) => request.startsWith('POST')).length - logins
    expect(tries).toBeLessThanOrEqual(3)
    expect(filesOf(directory)).not.toContain('fake-password')
  })

  it('leaves a gap while the controller is down, and goes on', async () => {
    using tree = bare()
    await using server = await FakeRedfishServer.start({ trace: PowerTrace.constant(300) })
    const ledger = await Ledger.open(folder(), options(tree, access(server)))
    await sleep(800)
    server.failWith(503)
    await sleep(3000)
    server.recover()
    // The next try comes at most as long after as the outage took.
    await sleep(4000)
    const { energy, gaps, durationNanoseconds } = await ledger.close()
    expect(gaps.map(({ source }) => source)).toEqual(['redfish:1U'])
    const gapNs = Number(gaps[0]?.durationNanoseconds)
    expect(gapNs / 1e9).toBeGreaterThan(2.5)
    const measured = Number(energy.measured?.nanojoules ?? 0n)
    const covered = 300 * (Number(durationNanoseconds) - gapNs)
    expect(Math.abs(measured - covered)).toBeLessThan(0.1 * covered)
  })

  it('takes a coarse counter only where there is no power, and says so', async () => {
    using tree = bare()
    await using server = await FakeRedfishServer.start({ shape: 'energy', energyDecimals: 3 })
    const find = async (more: RedfishOptions) => {
      const sources = await Ledger.findSources({ powercapRoot: tree.root, redfish: access(server, more) })
      return sources.find(({ kind }) => kind === 'redfish')
    }
    const auto = await find({})
    expect(auto?.provenance).toBe('integrated_power')
    expect(auto?.reason).toContain('steps of')
    const counter = await find({ prefer: 'counter' })
    expect(counter?.provenance).toBe('measured_counter')
    expect(counter?.method).toContain('steps of')
  })

  it('widens the interval by the step of a coarse counter', async () => {
    using tree = bare()
    await using server = await FakeRedfishServer.start({ shape: 'energy', energyDecimals: 4 })
    const { totals, spent } = await metered(
      server,
      () => Ledger.open(folder(), options(tree, access(server, { prefer: 'counter' }))),
      () => sleep(2500),
    )
    const { energy } = totals
    expectInside(energy.measured, spent)
    expect(Number(energy.measured?.highNanojoules) - Number(energy.measured?.nanojoules)).toBeGreaterThanOrEqual(360e9)
  })

  it('counts the node that is this host, once, and no enclosure beside measured parts', async () => {
    using tree = bare()
    await using server = await FakeRedfishServer.start({ shape: 'two-nodes' })
    const find = (more: RedfishOptions, root = tree.root) =>
      Ledger.findSources({ powercapRoot: root, redfish: access(server, more) })
    const states = async (more: RedfishOptions, root?: string) =>
      Object.fromEntries(
        (await find(more, root)).filter(({ kind }) => kind === 'redfish').map(({ id, state }) => [id, state]),
      )
    expect(await states({})).toEqual({ 'redfish:Node1': 'shown_only', 'redfish:Node2': 'included' })
    expect(await states({ chassis: ['Node1'] })).toEqual({ 'redfish:Node1': 'included' })
    expect(await states({ chassis: ['Node1', 'Node2'] })).toEqual({
      'redfish:Node1': 'included',
      'redfish:Node2': 'included',
    })
    expect(await states({ chassis: ['Node9'] })).toEqual({ 'redfish:Node9': 'unavailable' })
    using counted = onePackage()
    expect(await states({}, counted.root)).toEqual({ 'redfish:Node1': 'shown_only', 'redfish:Node2': 'shown_only' })
    await using board = await FakeRedfishServer.start()
    const covered = await Ledger.findSources({ powercapRoot: tree.root, redfish: access(board) })
    expect(covered.find(({ id }) => id === 'redfish:Board')).toMatchObject({ state: 'covered', parent: 'redfish:1U' })
  })

  it('adds nothing to a package that is measured beside it', async () => {
    using tree = onePackage()
    await using server = await FakeRedfishServer.start()
    const ledger = await Ledger.open(folder(), options(tree, access(server)))
    await sleep(600)
    tree.add(zone, 7n * joule)
    await sleep(200)
    const { energy, entries } = await ledger.close()
    expect(energy.measured?.nanojoules).toBe(7n * joule)
    expect(credited(entries, ['phase', 'unattributed', 'overhead', 'idle'])).toBe(7n * joule)
  })

  it('trusts a self-signed certificate by fingerprint or file alone, and shows the fingerprint it refused', async () => {
    using tree = bare()
    await using server = await FakeRedfishServer.start({ tls: true })
    const find = async (more: RedfishOptions) => {
      const sources = await Ledger.findSources({ powercapRoot: tree.root, redfish: access(server, more) })
      return sources.filter(({ kind, state }) => kind === 'redfish' && state !== 'covered')
    }
    const [refused] = await find({})
    expect(refused?.state).toBe('unavailable')
    expect(refused?.reason).toContain('ERR_ENERGY_REDFISH_CERTIFICATE')
    expect(refused?.reason).toContain(server.fingerprint)
    expect(server.requests).toEqual([])
    const [finding] = describeSources(refused === undefined ? [] : [refused])
    expect(finding).toMatchObject({ verdict: 'unavailable', fix: expect.stringContaining('SWIFT_REDFISH_FINGERPRINT') })
    expect((await find({ fingerprint: server.fingerprint })).map(({ state }) => state)).toEqual(['included'])
    const [other] = await find({ fingerprint: 'AB'.repeat(32) })
    expect(other?.reason).toContain('ERR_ENERGY_REDFISH_CERTIFICATE')
    const caFile = join(folder(), 'ca.pem')
    writeFileSync(caFile, server.certificate)
    expect((await find({ caFile })).map(({ state }) => state)).toEqual(['included'])
    const events: LedgerEvent[] = []
    const onEvent = (event: LedgerEvent): void => void events.push(event)
    const ledger = await Ledger.open(folder(), options(tree, access(server, { insecure: true }), { onEvent }))
    const { sources } = await ledger.close()
    expect(events.map(({ code }) => code)).toContain('WARN_ENERGY_REDFISH_INSECURE')
    expect(sources.find(({ id }) => id === 'redfish:1U')?.method).toContain('NOT checked')
  })

  it('says what is wrong with an address, credentials and options, without a secret', async () => {
    using tree = bare()
    await using server = await FakeRedfishServer.start()
    const reasonOf = async (redfish: RedfishOptions) => {
      const sources = await Ledger.findSources({ powercapRoot: tree.root, redfish })
      return sources.find(({ kind }) => kind === 'redfish')?.reason ?? ''
    }
    const wrong = await reasonOf(access(server, { password: 'hunter2' }))
    expect(wrong).toContain('ERR_ENERGY_REDFISH_CREDENTIALS')
    expect(wrong).not.toContain('hunter2')
    const { url } = server
    await server[Symbol.asyncDispose]()
    expect(await reasonOf({ url, timeoutMs: 500 })).toContain('ERR_ENERGY_REDFISH_UNREACHABLE')
    // What stands in for a controller that was named does not do so silently.
    const events: LedgerEvent[] = []
    const onEvent = (event: LedgerEvent): void => void events.push(event)
    const ledger = await Ledger.open(folder(), options(tree, { url, timeoutMs: 500 }, { onEvent }))
    await ledger.close()
    expect(events.filter(({ code }) => code === 'WARN_ENERGY_REDFISH_UNAVAILABLE')).toMatchObject([
      { message: expect.stringContaining('ERR_ENERGY_REDFISH_UNREACHABLE') },
    ])
    const env = { SWIFT_POWERCAP_ROOT: tree.root }
    const words = ['energy', 'run', '--redfish', url, '--out', join(folder(), 'run'), '--', 'true']
    const { code: exit, stderr } = await runSwift(words, { env })
    expect(exit).toBe(0)
    expect(stderr).toContain('WARN_ENERGY_REDFISH_UNAVAILABLE')
    for (const [redfish, code] of [
      [{ url: 'https://root:hunter2@bmc' }, 'ERR_ENERGY_REDFISH_OPTION'],
      [{ url: 'http://10.0.0.7', user: 'root', password: 'hunter2' }, 'ERR_ENERGY_REDFISH_PLAIN'],
      [{ url: 'https://10.0.0.7', fingerprint: '12' }, 'ERR_ENERGY_REDFISH_OPTION'],
    ] as const) {
      const failed: unknown = await Ledger.open(folder(), options(tree, redfish)).catch((error: unknown) => error)
      expect(failed).toMatchObject({ code })
      expect(String(failed)).not.toContain('hunter2')
    }
  })

  it('meters a command: swift energy run, doctor and sources', async () => {
    using tree = bare()
    await using server = await FakeRedfishServer.start({ trace: PowerTrace.constant(300) })
    const env = {
      SWIFT_POWERCAP_ROOT: tree.root,
      SWIFT_REDFISH_USER: server.user,
      SWIFT_REDFISH_PASSWORD: server.password,
    }
    const ledger = join(folder(), 'ledger')
    const words = ['energy', 'run', '--redfish', server.url, '--out', ledger, '--', 'sleep', '5']
    const { code, stderr } = await runSwift(words, { env })
    expect(code, stderr).toBe(0)
    expect(stderr).toMatch(/machine\s+[\d.]+ k?J .*measured/)
    const report = await Ledger.report(ledger, { per: 'account' })
    const covered =
      report.durationSeconds - report.gaps.reduce((sum, gap) => sum + Number(gap.durationNanoseconds) / 1e9, 0)
    // A poll a second: the stretch before the first reading and after the last is below one each.
    const { nanojoules = 0n, highNanojoules = 0n } = report.machine.energy.measured ?? {}
    expect(Number(nanojoules) / 1e9).toBeLessThanOrEqual(300 * covered + 1)
    expect(Number(highNanojoules) / 1e9).toBeGreaterThan(300 * (covered - 1))
    expect(filesOf(ledger) + stderr).not.toContain(server.password)
    expect(server.openSessions).toBe(0)
    const doctor = await runSwift(['energy', 'doctor', '--redfish', server.url], { env })
    expect(doctor.stdout).toContain('redfish:1U')
    const sources = await runSwift(['energy', 'sources', '--redfish', server.url, '--json'], { env })
    expect(sources.stdout).toContain('"integrated_power"')
  })
})
