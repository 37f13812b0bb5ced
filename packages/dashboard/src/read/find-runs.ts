import { createHash } from 'node:crypto'
import { readdir, stat } from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { SwiftError } from '@swift/spec'
import type { RunProblem } from '../run-data.ts'
import type { RunReference } from './read-run.ts'

/** Runs that were found, and what is not shown. */
export interface FoundRuns {
  readonly runs: readonly RunReference[]
  readonly problems: readonly RunProblem[]
}

/** Where runs lie when nobody says where: see `outputDir` of the trainer. */
const usualFolders = ['runs', 'output']

/** More than this makes a page nobody reads. */
const maximumRuns = 24

const marks = new Set(['energy', 'logging.jsonl', 'plan.json', 'args.json'])

async function isFolder(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true
}

async function isRun(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch(() => [])
  return names.some((name) => marks.has(name) || name.endsWith('.swj'))
}

async function modified(folder: string): Promise<number> {
  const times = await Promise.all(
    [folder, join(folder, 'logging.jsonl'), join(folder, 'energy')].map(
      async (path) => (await stat(path).catch(() => undefined))?.mtimeMs ?? 0,
    ),
  )
  return Math.max(...times)
}

/** Runs directly inside a folder, the newest first. */
async function runsInside(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => [])
  const children = entries.filter((entry) => entry.isDirectory()).map(({ name }) => join(folder, name))
  const found = await Promise.all(
    children.map(async (path) => ((await isRun(path)) ? [{ path, time: await modified(path) }] : [])),
  )
  return found
    .flat()
    .toSorted((a, b) => b.time - a.time || (a.path < b.path ? -1 : 1))
    .map(({ path }) => path)
}

/** The folder's name, with its parent's where two runs would be called the same. */
function nameRuns(folders: readonly string[]): RunReference[] {
  const name = (folder: string): string => {
    const own = basename(resolve(folder))
    // The folder of a ledger alone says less than the folder around it.
    return own === 'energy' ? `${basename(dirname(resolve(folder)))}/energy` : own
  }
  return folders.map((folder) => {
    const own = name(folder)
    const isUnique = folders.filter((other) => name(other) === own).length === 1
    return {
      // Stays the same when other runs come and go; the path itself is not told.
      id: createHash('sha256').update(resolve(folder)).digest('hex').slice(0, 10),
      name: isUnique ? own : `${basename(dirname(resolve(folder)))}/${own}`,
      folder,
    }
  })
}

/**
 * Finds runs: each path is the folder of a run, of a ledger, or of several runs. A folder that holds nothing yet counts
 * as a run that may begin.
 * @param paths default: `runs` and `output` in the working folder
 * @throws `ERR_RUN_MISSING` a named folder does not exist; `ERR_RUN_NONE` nothing was named, and nothing found
 */
export async function findRuns(paths: readonly string[]): Promise<FoundRuns> {
  const named = paths.length > 0
  const folders: string[] = []
  for (const path of named ? paths : usualFolders) {
    if (!(await isFolder(path))) {
      if (!named) continue
      throw new SwiftError({
        code: 'ERR_RUN_MISSING',
        asked: `The run in ${path}`,
        found: 'there is no such folder',
        remedy: 'Name the folder that a run wrote (its --output-dir), or a folder that holds several',
      })
    }
    const inside = (await isRun(path)) ? [path] : await runsInside(path)
    folders.push(...(inside.length === 0 && named ? [path] : inside))
  }
  const unique = [...new Map(folders.map((folder) => [resolve(folder), folder])).values()]
  if (unique.length === 0) {
    throw new SwiftError({
      code: 'ERR_RUN_NONE',
      asked: 'A dashboard without the folder of a run',
      found: `no run in ${usualFolders.join(' or ')} here`,
      remedy: 'Write swift dashboard RUN_DIR, with the --output-dir of a run',
    })
  }
  const problems: RunProblem[] =
    unique.length <= maximumRuns
      ? []
      : [
          {
            severity: 'note',
            code: 'WARN_RUNS_LEFT_OUT',
            found: `${unique.length} runs were found; the first ${maximumRuns} are shown, the newest of each folder first.`,
            remedy: 'Name the folders of the runs to compare.',
          },
        ]
  return { runs: nameRuns(unique.slice(0, maximumRuns)), problems }
}
