import { join } from 'node:path'
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

/** 16 W, in updates of half a second: 8 J each, and times that floating point holds exactly. */
const steady = { power: [[0, 16]], updateMs: 500, startMillijoules: 7_000_123 } as const

interface Metered {
  readonly totals: LedgerTotals
  readonly events: readonly LedgerEvent[]
}

/** A ledger over GPUs, while their clock goes through moments: each with what it waits for before the next. */
async function meter(
  visibleDevices: string,
  gpus: readonly FakeGpu[],
  moments: readonly (readonly [second: number, isSeen: (seen: Metered) => boolean])[],
): Promise<Metered> {
  const { library, noProcessor, setSeconds } = fakeGpus(...gpus)
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
    for (const [second, isSeen] of moments) {
      setSeconds(second)
      await expect
        .poll(() => isSeen({ totals: ledger.totals(), events }), { timeout: 50_000, message: `at ${second} s` })
        .toBe(true)
    }
  }
  return { totals: await ledger.close(), events }
}

const ofSource = ({ entries }: LedgerTotals, uuid: string): bigint =>
  entries.filter(({ source }) => source === `nvml:${uuid}`).reduce((sum, { nanojoules }) => sum + nanojoules, 0n)

describe("GPUs through the stand-in for NVIDIA's library", () => {
  it('give a ledger the joules of their power to the nanojoule: chosen by UUID, over a reset, and up to their loss', async () => {
    const has =
      (uuid: string, joules: bigint) =>
      ({ totals }: Metered): boolean =>
        ofSource(totals, uuid) === joules * joule
    const isTold =
      (code: string) =>
      ({ events }: Metered): boolean =>
        events.some((event) => event.code === code)
    const [chosen, reset, lost] = await Promise.all([
      meter(
        'GPU-b',
        [
          { ...steady, uuid: 'GPU-a', power: [[0, 300]] },
          { ...steady, uuid: 'GPU-b' },
        ],
        [
          [0.5, has('GPU-b', 8n)],
          [1, has('GPU-b', 16n)],
        ],
      ),
      meter(
        'GPU-r',
        [{ ...steady, uuid: 'GPU-r', resetAt: 1 }],
        [
          [0.5, has('GPU-r', 8n)],
          // What was used since the last reading is not known any more.
          [1, isTold('WARN_ENERGY_COUNTER_RESET')],
          [1.5, has('GPU-r', 16n)],
        ],
      ),
      meter(
        'GPU-l,GPU-g',
        [
          { ...steady, uuid: 'GPU-l', lostAt: 0.75 },
          { ...steady, uuid: 'GPU-g' },
        ],
        [
          [0.5, (seen) => has('GPU-l', 8n)(seen) && has('GPU-g', 8n)(seen)],
          [1, has('GPU-g', 16n)],
          // A source is called lost after ten seconds without a reading.
          [1, isTold('ERR_ENERGY_SOURCE_LOST')],
          [1.5, has('GPU-g', 24n)],
        ],
      ),
    ])
    expect(chosen.totals.energy.measured?.nanojoules).toBe(16n * joule)
    expect([ofSource(chosen.totals, 'GPU-a'), ofSource(chosen.totals, 'GPU-b')]).toEqual([0n, 16n * joule])
    // Not ours: it is shown, and not read.
    expect(chosen.totals.sources.find(({ id }) => id === 'nvml:GPU-a')?.state).toBe('shown_only')

    expect(ofSource(reset.totals, 'GPU-r')).toBe(16n * joule)
    expect(reset.events.map(({ code }) => code)).toContain('WARN_ENERGY_COUNTER_RESET')

    // What a lost GPU used after its loss is nobody's knowledge; the other one does not notice.
    expect([ofSource(lost.totals, 'GPU-l'), ofSource(lost.totals, 'GPU-g')]).toEqual([8n * joule, 24n * joule])
    const told = lost.events.filter(({ code }) => code === 'ERR_ENERGY_SOURCE_LOST')
    expect(told.map(({ message }) => /nvml:GPU-\w/.exec(message)?.[0])).toEqual(['nvml:GPU-l'])
    expect(lost.events.filter(({ message }) => message.includes('GPU-g'))).toEqual([])
  })

  it('give swift energy run the same joules, for those that CUDA_VISIBLE_DEVICES names', async () => {
    const { library, noProcessor, clock } = fakeGpus(
      { ...steady, uuid: 'GPU-a', power: [[0, 300]] },
      { ...steady, uuid: 'GPU-b' },
    )
    const env = { SWIFT_NVML_LIBRARY: library, SWIFT_POWERCAP_ROOT: noProcessor, CUDA_VISIBLE_DEVICES: 'GPU-b' }
    // Half a second goes by while the command runs; the wait after it is for whoever reads the counter every few milliseconds.
    const script = `echo 0.5 > ${clock}.next; mv ${clock}.next ${clock}; sleep 3; exit 3`
    const words = ['energy', 'run', '--json', '--out', join(folder(), 'ledger'), '--', 'sh', '-c', script]
    const { code, stderr } = await runSwift(words, { env })
    expect(code, stderr).toBe(3)
    const report = JSON.parse(stderr.trim().split('\n').at(-1) ?? '') as {
      readonly machine: { readonly energy: { readonly measured?: { readonly nanojoules: string } } }
    }
    expect(report.machine.energy.measured?.nanojoules).toBe(String(8n * joule))

    const doctor = await runSwift(['energy', 'doctor', '--json'], { env })
    const [found] = doctor.json() as unknown as [
      { readonly findings: readonly { readonly source: string; readonly verdict: string }[] },
    ]
    const verdictOf = (uuid: string): string | undefined =>
      found.findings.find(({ source }) => source.includes(uuid))?.verdict
    expect([verdictOf('GPU-b'), verdictOf('GPU-a')]).toEqual(['measured', 'shown'])
  })
})
