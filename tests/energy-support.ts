import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { LedgerOptions } from '@swift/energy'
import { meterNow } from '@swift/kernels/meter'
import { SwiftError, type AccountKind, type EnergyClass, type EnergySplit, type LedgerEntry } from '@swift/spec'
import { FakePowercapTree } from '@swift/testing'
import { afterEach, type TestContext } from 'vitest'
import { runSwift } from './command/run-swift.ts'

/** 1 J in nanojoules. */
export const joule = 1_000_000_000n

/** The zone of {@link onePackage}. */
export const zone = 'intel-rapl:0'

function whyNoMeter(): string | undefined {
  try {
    meterNow()
    return undefined
  } catch (error) {
    return `the native meter cannot be used here: ${String(error)}`
  }
}

const reason = whyNoMeter()

/** For `beforeEach`: skips the test, with the reason, where the native meter is missing. */
export function needsMeter(context: TestContext): void {
  if (reason !== undefined) context.skip(reason)
}

const folders: string[] = []
afterEach(() => {
  for (const path of folders.splice(0)) rmSync(path, { recursive: true, force: true })
})

/** A new folder, removed after the test. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'swift-energy-'))
  folders.push(path)
  return path
}

/** A fake tree of one processor package. */
export function onePackage(): FakePowercapTree {
  return new FakePowercapTree([{ entry: zone, name: 'package-0' }])
}

/** Options of a ledger that is fast and undisturbed by what else runs on the machine. */
export function ledgerOptions(tree: FakePowercapTree, more: LedgerOptions = {}): LedgerOptions {
  return { powercapRoot: tree.root, samplePeriodMs: 20, commitMs: 50, idle: { seconds: 0 }, exclusive: true, ...more }
}

/** The code of the error that a call ends with; `no error` where there is none. */
export async function codeOf(call: () => unknown): Promise<string> {
  try {
    await call()
    return 'no error'
  } catch (error) {
    return SwiftError.isInstance(error) ? error.code : String(error)
  }
}

/** Measured nanojoules; `undefined`: unavailable. */
export function measuredOf({ measured }: Pick<EnergySplit, 'measured'>): bigint | undefined {
  return measured?.nanojoules
}

/** Sum of the balances of some kinds of account and one class. */
export function credited(
  entries: readonly Pick<LedgerEntry, 'kind' | 'energyClass' | 'nanojoules'>[],
  kinds: readonly AccountKind[],
  energyClass: EnergyClass = 'measured',
): bigint {
  return entries
    .filter((entry) => kinds.includes(entry.kind) && entry.energyClass === energyClass)
    .reduce((sum, { nanojoules }) => sum + nanojoules, 0n)
}

/** A ledger that `swift energy run` made of a command that spends so many joules. */
export async function meteredLedger(joules: number): Promise<string> {
  using tree = onePackage()
  const ledger = join(folder(), 'ledger')
  const counter = join(tree.root, zone, 'energy_uj')
  // In steps, as a processor would: a single leap is an edge whose place between two readings nobody knows.
  const step = joules * 1e5
  const script = `n=0; while [ $n -lt 10 ]; do n=$((n+1)); echo $((n*${step})) > ${counter}; sleep 0.05; done; sleep 0.1`
  const words = ['energy', 'run', '--out', ledger, '--', 'sh', '-c', script]
  const { code, stderr } = await runSwift(words, { env: { SWIFT_POWERCAP_ROOT: tree.root } })
  if (code !== 0) throw new Error(stderr)
  return ledger
}
