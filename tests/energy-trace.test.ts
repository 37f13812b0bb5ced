import { setTimeout as sleep } from 'node:timers/promises'
import { Ledger } from '@swift/energy'
import { PowercapFeeder, PowerTrace } from '@swift/testing'
import { beforeEach, describe, expect, it } from 'vitest'
import { credited, folder, ledgerOptions, needsMeter, onePackage, zone } from './energy-support.ts'

beforeEach(needsMeter)

describe('a ledger over a trace', () => {
  it('holds the integral of the power, to the microjoule of the counter, and the truth is in the interval of its phases', async () => {
    using tree = onePackage()
    const ramps = new PowerTrace([
      { milliseconds: 0, watts: 20 },
      { milliseconds: 300, watts: 20 },
      { milliseconds: 340, watts: 200 },
      { milliseconds: 900, watts: 180 },
      { milliseconds: 930, watts: 35 },
    ])
    const feeder = new PowercapFeeder(tree, { [zone]: ramps })
    const ledger = await Ledger.open(folder(), ledgerOptions(tree))
    let truth = 0n
    for (const path of ['quiet', 'busy', 'after']) {
      const before = feeder.fed(zone)
      const phase = ledger.phase(path)
      {
        // Fed up to the end of the phase, however late the timers are.
        using _following = feeder.follow(2)
        await sleep(310)
      }
      phase.end()
      truth += feeder.fed(zone) - before
    }
    await ledger.settle()
    const totals = await ledger.close()
    const fed = feeder.fed(zone)
    // The counter shows whole microjoules.
    expect(totals.energy.measured?.nanojoules).toBe((fed / 1000n) * 1000n)
    expect(credited(totals.entries, ['phase', 'unattributed', 'overhead', 'idle', 'gap'])).toBe((fed / 1000n) * 1000n)
    // One phase alone may miss its 95 % interval now and then; together they hold what was spent in them.
    const { measured } = (await Ledger.report(ledger.directory)).phases.energy
    expect(measured?.lowNanojoules).toBeLessThanOrEqual(truth)
    expect(measured?.highNanojoules).toBeGreaterThanOrEqual(truth)
  })
})
