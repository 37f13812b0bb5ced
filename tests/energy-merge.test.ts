import { cpSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Ledger } from '@swift/energy'
import { beforeEach, describe, expect, it } from 'vitest'
import { codeOf, folder, joule, ledgerOptions, needsMeter, onePackage, zone } from './energy-support.ts'

beforeEach(needsMeter)

async function made(joules: bigint, rank: number): Promise<string> {
  using tree = onePackage()
  const directory = folder()
  const ledger = await Ledger.open(directory, ledgerOptions(tree, { rank }))
  const phase = ledger.phase('train/epoch:0')
  tree.add(zone, joules * joule)
  await sleep(60)
  phase.end()
  await ledger.close()
  return directory
}

describe('Ledger.merge', () => {
  it('is a set union: a copy adds nothing, and the order does not matter', async () => {
    const first = await made(3n, 0)
    const copy = folder()
    cpSync(first, copy, { recursive: true })
    const alone = Ledger.merge([first])
    expect(alone.energy.measured?.nanojoules).toBe(3n * joule)
    expect(Ledger.merge([copy, first]).entries).toEqual(alone.entries)
    expect(Ledger.merge([first, copy, first]).entries).toEqual(alone.entries)
  })

  it('codes a folder that holds no ledger', async () => {
    expect(await codeOf(() => Ledger.merge([folder()]))).toBe('ERR_LEDGER_EMPTY')
  })
})
