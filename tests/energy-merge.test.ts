import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Ledger } from '@swift/energy'
import * as nativeMeter from '@swift/kernels/meter'
import { SwiftError } from '@swift/spec'
import { FakePowercapTree } from '@swift/testing'
import { afterEach, describe, expect, it } from 'vitest'

/** Why ledgers cannot be merged here, or `undefined`. */
function whyNoMerge(): string | undefined {
  try {
    nativeMeter.meterNow()
    return 'meterMerge' in nativeMeter ? undefined : 'the native binary has no merge of ledgers'
  } catch (error) {
    return String(error)
  }
}

const reason = whyNoMerge()
const joule = 1_000_000_000n
const folders: string[] = []
afterEach(() => {
  for (const path of folders.splice(0)) rmSync(path, { recursive: true, force: true })
})

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'swift-energy-merge-'))
  folders.push(path)
  return path
}

async function made(joules: bigint, rank: number): Promise<string> {
  using tree = new FakePowercapTree([{ entry: 'intel-rapl:0', name: 'package-0' }])
  const directory = folder()
  const ledger = await Ledger.open(directory, {
    powercapRoot: tree.root,
    rank,
    samplePeriodMs: 20,
    commitMs: 50,
    idle: { seconds: 0 },
    exclusive: true,
  })
  const phase = ledger.phase('train/epoch:0')
  tree.add('intel-rapl:0', joules * joule)
  await sleep(60)
  phase.end()
  await ledger.close()
  return directory
}

describe('Ledger.merge', () => {
  it('is a set union: a copy adds nothing, and the order does not matter', async (context) => {
    if (reason !== undefined) context.skip(reason)
    const first = await made(3n, 0)
    const copy = folder()
    cpSync(first, copy, { recursive: true })
    const alone = Ledger.merge([first])
    expect(alone.energy.measured?.nanojoules).toBe(3n * joule)
    expect(Ledger.merge([copy, first]).entries).toEqual(alone.entries)
    expect(Ledger.merge([first, copy, first]).entries).toEqual(alone.entries)
  })

  it('codes a folder that holds no ledger, and a binary that cannot merge', async (context) => {
    const call = (): unknown => Ledger.merge([folder()])
    if (reason !== undefined) {
      expect(call).toThrow(SwiftError)
      context.skip(reason)
    }
    expect(call).toThrow(SwiftError)
  })
})
