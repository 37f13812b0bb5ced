import { mkdir, utimes, writeFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { describe, expect, it } from 'vitest'
import { TestFolder } from '../test-support/make-run.ts'
import { findRuns } from './find-runs.ts'

async function put(path: string, seconds = 1000): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  await writeFile(path, '{}')
  await utimes(path, seconds, seconds)
  await utimes(dirname(path), seconds, seconds)
}

describe('findRuns', () => {
  it('takes a run, a ledger, and a folder of runs with the newest first', async () => {
    await using folder = await TestFolder.make()
    await put(folder.join('runs/old/plan.json'), 1000)
    await put(folder.join('runs/new/logging.jsonl'), 2000)
    await put(folder.join('runs/notes/readme.md'))
    await put(folder.join('ledger/joules-a-b-0-000001.swj'))
    const { runs } = await findRuns([folder.join('runs'), folder.join('ledger')])
    expect(runs.map(({ name }) => name)).toEqual(['new', 'old', 'ledger'])
    expect(new Set(runs.map(({ id }) => id)).size).toBe(3)
    expect(runs[0]?.id).not.toContain('new')
  })

  it('counts a folder once and names runs of the same name apart', async () => {
    await using folder = await TestFolder.make()
    await put(folder.join('a/run/plan.json'))
    await put(folder.join('b/run/plan.json'))
    const { runs } = await findRuns([folder.join('a/run'), folder.join('b'), folder.join('a')])
    expect(runs.map(({ name }) => name)).toEqual(['a/run', 'b/run'])
    const again = await findRuns([folder.join('b/run')])
    expect(again.runs[0]?.id).toBe(runs[1]?.id)
  })

  it('takes an empty folder as a run that may begin, and refuses one that is not there', async () => {
    await using folder = await TestFolder.make()
    expect((await findRuns([folder.path])).runs).toHaveLength(1)
    await expect(findRuns([folder.join('nowhere')])).rejects.toMatchObject({ code: 'ERR_RUN_MISSING' })
    await put(folder.join('file'))
    await expect(findRuns([folder.join('file')])).rejects.toMatchObject({ code: 'ERR_RUN_MISSING' })
  })

  it('says how many runs it leaves out', async () => {
    await using folder = await TestFolder.make()
    for (let index = 0; index < 30; index++) await put(folder.join(`run-${index}/plan.json`), 1000 + index)
    const { runs, problems } = await findRuns([folder.path])
    expect(runs).toHaveLength(24)
    expect(runs[0]?.name).toBe('run-29')
    expect(problems[0]?.found).toContain('30 runs')
  })
})
