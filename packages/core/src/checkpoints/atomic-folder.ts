import { mkdir, open, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { SwiftError } from '@swift/spec'

/** Marks folders that were never finished. */
const incompletePrefix = '.incomplete-'

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/** Flushes every file under a folder, then the folders, to the disk. */
async function syncTree(folder: string): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name)
    if (entry.isDirectory()) await syncTree(path)
    else await syncPath(path)
  }
  await syncPath(folder)
}

const fullDisk: ReadonlySet<unknown> = new Set(['ENOSPC', 'EDQUOT', 'ERR_DISK_FULL'])

/** Turns the errors of a full disk into `ERR_DISK_FULL`, other ones of the system into `ERR_FILE_WRITE`; leaves the rest. */
export function describeWriteError(error: unknown, asked: string): unknown {
  const code = typeof error === 'object' && error !== null && 'code' in error ? error.code : undefined
  if (typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) && !fullDisk.has(code)) {
    return new SwiftError({
      code: 'ERR_FILE_WRITE',
      asked,
      found: `the operating system said ${code}; what was there before is as it was`,
      remedy: 'Check the folder and its permissions, or choose another',
      cause: error,
    })
  }
  if (!fullDisk.has(code)) return error
  return new SwiftError({
    code: 'ERR_DISK_FULL',
    asked,
    found: 'the disk is full; what was begun is removed, and earlier checkpoints are as they were',
    remedy: 'Free space, or choose another outputDir, then resume with resumeFromCheckpoint: auto',
    cause: error,
  })
}

/**
 * Writes a folder so that a reader sees all of it or none of it, also after a power cut: into a temporary neighbour,
 * synced, then renamed over the target, then the parent synced.
 * @param write - writes the files into the folder it is given
 * @throws `ERR_DISK_FULL`, `ERR_FILE_WRITE`; whatever `write` throws. The target is then as it was
 */
export async function writeFolderAtomically(target: string, write: (folder: string) => Promise<void>): Promise<void> {
  const parent = dirname(target)
  const temporary = join(parent, `${incompletePrefix}${basename(target)}-${process.pid}`)
  const previous = join(parent, `${incompletePrefix}previous-${basename(target)}-${process.pid}`)
  try {
    await rm(temporary, { recursive: true, force: true })
    await mkdir(temporary, { recursive: true })
    await write(temporary)
    await syncTree(temporary)
    await replaceFolder(temporary, target, previous)
    await syncPath(parent)
  } catch (error) {
    await rm(temporary, { recursive: true, force: true })
    throw describeWriteError(error, `Writing ${target}`)
  }
  await rm(previous, { recursive: true, force: true })
}

async function replaceFolder(temporary: string, target: string, previous: string): Promise<void> {
  try {
    await rename(temporary, target)
  } catch (error) {
    // A folder that is not empty cannot be renamed over.
    const code = (error as { readonly code?: unknown }).code
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error
    await rename(target, previous)
    await rename(temporary, target)
  }
}

/** Removes what interrupted writes left in a folder; returns the names. */
export async function removeIncomplete(folder: string): Promise<readonly string[]> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.startsWith(incompletePrefix))
  await Promise.all(names.map((name) => rm(join(folder, name), { recursive: true, force: true })))
  return names
}

/** Writes a small text file through a temporary neighbour: a reader sees the old text or the new. */
export async function writeFileAtomically(path: string, text: string): Promise<void> {
  const temporary = join(dirname(path), `${incompletePrefix}${basename(path)}-${process.pid}`)
  try {
    const handle = await open(temporary, 'w')
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw describeWriteError(error, `Writing ${path}`)
  }
}
