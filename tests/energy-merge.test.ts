import { cpSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { Ledger } from '@swift/energy'
import { beforeEach, describe, expect, it } from 'vitest'
import { runSwift } from './command/run-swift.ts'
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

  it('counts the processor of a host once, however many ranks read it, and says so', async () => {
    using tree = onePackage()
    const runId = 'eight-ranks'
    const ledgers = await Promise.all(
      Array.from({ length: 8 }, (_, rank) => Ledger.open(folder(), ledgerOptions(tree, { rank, runId }))),
    )
    tree.add(zone, 6n * joule)
    await sleep(100)
    for (const ledger of ledgers.toReversed()) await ledger.close()
    const ranks = ledgers.map(({ directory }) => directory)
    const { energy, mergeNotes } = Ledger.merge(ranks.toReversed())
    expect(energy.measured?.nanojoules).toBe(6n * joule)
    expect(new Set(mergeNotes.map(({ code }) => code))).toEqual(new Set(['WARN_LEDGER_MERGE_SHARED_SOURCE']))
    const { stdout } = await runSwift(['energy', 'merge', ...ranks])
    expect(stdout).toContain('exactly: 6 J measured')
    expect(stdout).toContain(`merge WARN_LEDGER_MERGE_SHARED_SOURCE: ${mergeNotes[0]?.message}`)
  })

  it('codes a folder that holds no ledger', async () => {
    expect(await codeOf(() => Ledger.merge([folder()]))).toBe('ERR_LEDGER_EMPTY')
  })
})
