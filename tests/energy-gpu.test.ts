import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Ledger } from '@swift/energy'
import type { LedgerEvent, LedgerTotals } from '@swift/spec'
import { beforeEach, describe, expect, it } from 'vitest'
import { runSwift } from './command/run-swift.ts'
import { folder, joule, needsMeter } from './energy-support.ts'
import { fakeGpus, whyNoFakeGpus, type FakeGpu } from './fake-gpus.ts'

beforeEach((context) => {
  needsMeter(context)
  if (whyNoFakeGpus !== undefined) context.skip(whyNoFakeGpus)
})

/** 100 W for the fourth second and nothing before or after it: 100 J, however late readings come. */
const oneBurst = [
  [0, 0],
  [3, 100],
  [4, 0],
] as const
/** Twice 50 J, with a second of rest between them. */
const twoBursts = [
  [0, 0],
  [3, 100],
  [3.5, 0],
  [4.5, 100],
  [5, 0],
] as const

interface Metered {
  readonly totals: LedgerTotals
  readonly events: readonly LedgerEvent[]
}

/** A ledger over these GPUs, open until a second after the library was loaded. */
async function meter(seconds: number, visibleDevices: string, ...gpus: readonly FakeGpu[]): Promise<Metered> {
  const { library, noProcessor } = fakeGpus(...gpus)
  const events: LedgerEvent[] = []
  const ledger = await Ledger.open(folder(), {
    nvmlLibrary: library,
    powercapRoot: noProcessor,
    visibleDevices,
    samplePeriodMs: 20,
    commitMs: 50,
    idle: { seconds: 0 },
    exclusive: true,
    onEvent: (event) => events.push(event),
  })
  {
    using _phase = ledger.phase('work')
    await sleep(1000 * seconds)
  }
  return { totals: await ledger.close(), events }
}

const ofSource = ({ entries }: LedgerTotals, uuid: string): bigint =>
  entries.filter(({ source }) => source === `nvml:${uuid}`).reduce((sum, { nanojoules }) => sum + nanojoules, 0n)

describe("GPUs through the stand-in for NVIDIA's library", () => {
  it('give a ledger the joules of their power to the nanojoule: chosen by UUID, over a reset, and up to their loss', async () => {
    const counter = { updateMs: 20, startMillijoules: 7_000_123 }
    const [chosen, reset, lost] = await Promise.all([
      meter(
        5,
        'GPU-b',
        { ...counter, uuid: 'GPU-a', power: [[0, 300]] },
        { ...counter, uuid: 'GPU-b', power: oneBurst },
      ),
      meter(6, 'GPU-r', { ...counter, uuid: 'GPU-r', power: twoBursts, resetAt: 4 }),
      // A source is called lost after ten seconds without a reading.
      meter(
        16,
        'GPU-l,GPU-g',
        { ...counter, uuid: 'GPU-l', power: twoBursts, lostAt: 4 },
        { ...counter, uuid: 'GPU-g', power: twoBursts },
      ),
    ])
    expect(chosen.totals.energy.measured?.nanojoules).toBe(100n * joule)
    expect([ofSource(chosen.totals, 'GPU-a'), ofSource(chosen.totals, 'GPU-b')]).toEqual([0n, 100n * joule])
    // Not ours: it is shown, and not read.
    expect(chosen.totals.sources.find(({ id }) => id === 'nvml:GPU-a')?.state).toBe('shown_only')

    expect(ofSource(reset.totals, 'GPU-r')).toBe(100n * joule)
    expect(reset.events.map(({ code }) => code)).toContain('WARN_ENERGY_COUNTER_RESET')

    // What a lost GPU used after its loss is nobody's knowledge; the other one does not notice.
    expect([ofSource(lost.totals, 'GPU-l'), ofSource(lost.totals, 'GPU-g')]).toEqual([50n * joule, 100n * joule])
    const told = lost.events.filter(({ code }) => code === 'ERR_ENERGY_SOURCE_LOST')
    expect(told.map(({ message }) => /nvml:GPU-\w/.exec(message)?.[0])).toEqual(['nvml:GPU-l'])
    expect(lost.events.filter(({ message }) => message.includes('GPU-g'))).toEqual([])
  })

  it('give swift energy run the same joules, for those that CUDA_VISIBLE_DEVICES names', async () => {
    const { library, noProcessor } = fakeGpus(
      { uuid: 'GPU-a', power: [[0, 300]], updateMs: 20 },
      { uuid: 'GPU-b', power: oneBurst, updateMs: 20 },
    )
    const env = { SWIFT_NVML_LIBRARY: library, SWIFT_POWERCAP_ROOT: noProcessor, CUDA_VISIBLE_DEVICES: 'GPU-b' }
    const words = ['energy', 'run', '--json', '--out', join(folder(), 'ledger'), '--', 'sh', '-c', 'sleep 5; exit 3']
    const { code, stderr } = await runSwift(words, { env })
    expect(code, stderr).toBe(3)
    const report = JSON.parse(stderr.trim().split('\n').at(-1) ?? '') as {
      readonly machine: { readonly energy: { readonly measured?: { readonly nanojoules: string } } }
    }
    expect(report.machine.energy.measured?.nanojoules).toBe(String(100n * joule))

    const doctor = await runSwift(['energy', 'doctor', '--json'], { env })
    const [found] = doctor.json() as unknown as [
      { readonly findings: readonly { readonly source: string; readonly verdict: string }[] },
    ]
    const verdictOf = (uuid: string): string | undefined =>
      found.findings.find(({ source }) => source.includes(uuid))?.verdict
    expect([verdictOf('GPU-b'), verdictOf('GPU-a')]).toEqual(['measured', 'shown'])
  })
})
