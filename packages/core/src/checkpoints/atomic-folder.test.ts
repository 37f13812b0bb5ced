import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { removeIncomplete, writeFileAtomically, writeFolderAtomically } from './atomic-folder.ts'
import { listCheckpoints, pruneCheckpoints } from './list-checkpoints.ts'

const root = await mkdtemp(join(tmpdir(), 'swift-atomic-'))
afterAll(() => rm(root, { recursive: true }))

const fullDisk = Object.assign(new Error('no space left on device'), { code: 'ENOSPC' })

describe('writeFolderAtomically', () => {
  it('shows all of a folder or none of it', async () => {
    const target = join(root, 'checkpoint-1')
    await writeFolderAtomically(target, async (folder) => {
      await writeFile(join(folder, 'a'), '1')
      expect(await readdir(root)).not.toContain('checkpoint-1')
    })
    expect(await readdir(target)).toEqual(['a'])
    await writeFolderAtomically(target, (folder) => writeFile(join(folder, 'b'), '2'))
    expect(await readdir(target)).toEqual(['b'])
    expect(await readdir(root)).toEqual(['checkpoint-1'])
  })

  it('leaves the target as it was when the disk is full', async () => {
    const target = join(root, 'checkpoint-1')
    const failing = writeFolderAtomically(target, async (folder) => {
      await writeFile(join(folder, 'half'), 'x')
      throw fullDisk
    })
    await expect(failing).rejects.toMatchObject({ code: 'ERR_DISK_FULL' })
    expect(await readdir(target)).toEqual(['b'])
    expect(await readdir(root)).toEqual(['checkpoint-1'])
  })

  it('says the error of a real full disk', async () => {
    // /dev/full refuses every byte as a full disk does.
    const failing = writeFolderAtomically(join(root, 'other'), () => writeFile('/dev/full', 'x'))
    await expect(failing).rejects.toMatchObject({ code: 'ERR_DISK_FULL' })
  })
})

it('removes what interrupted writes left', async () => {
  await mkdir(join(root, '.incomplete-checkpoint-9-123'))
  await writeFile(join(root, '.incomplete-checkpoint-9-123', 'x'), '')
  expect(await removeIncomplete(root)).toEqual(['.incomplete-checkpoint-9-123'])
  expect(await readdir(root)).toEqual(['checkpoint-1'])
  expect(await removeIncomplete(join(root, 'missing'))).toEqual([])
})

it('replaces a file in one move', async () => {
  const path = join(root, 'state.json')
  await writeFileAtomically(path, 'one')
  await writeFileAtomically(path, 'two')
  expect(await readFile(path, 'utf8')).toBe('two')
})

it('keeps the last and the best checkpoints, and sees only finished ones', async () => {
  const run = join(root, 'run')
  for (const step of [2, 10, 4, 6, 8]) {
    await mkdir(join(run, `checkpoint-${step}`), { recursive: true })
    await writeFile(join(run, `checkpoint-${step}`, 'trainer_state.json'), '{}')
  }
  await mkdir(join(run, 'checkpoint-12'))
  expect((await listCheckpoints(run)).map(({ step }) => step)).toEqual([2, 4, 6, 8, 10])
  await pruneCheckpoints(run, 2, 4)
  expect((await listCheckpoints(run)).map(({ step }) => step)).toEqual([4, 10])
  await pruneCheckpoints(run, 1, 4)
  expect((await listCheckpoints(run)).map(({ step }) => step)).toEqual([4, 10])
})
