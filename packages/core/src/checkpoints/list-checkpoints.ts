import { access, readdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { trainerStateFile } from './trainer-state.ts'

/** A finished checkpoint of a run. */
export interface CheckpointEntry {
  /** Optimizer steps it holds. */
  readonly step: number
  /** Its folder. */
  readonly path: string
}

/** The finished checkpoints of a run folder, oldest first. */
export async function listCheckpoints(runFolder: string): Promise<readonly CheckpointEntry[]> {
  const names = await readdir(runFolder).catch(() => [])
  const entries = names.flatMap((name) => {
    const match = /^checkpoint-(\d+)$/.exec(name)
    return match === null ? [] : [{ step: Number(match[1]), path: join(runFolder, name) }]
  })
  const finished = await Promise.all(
    entries.map(({ path }) =>
      access(join(path, trainerStateFile)).then(
        () => true,
        () => false,
      ),
    ),
  )
  return entries.filter((_, index) => finished[index]).toSorted((a, b) => a.step - b.step)
}

/**
 * Removes the oldest checkpoints beyond a limit; the best one and the last one always stay.
 * @returns the folders removed
 */
export async function pruneCheckpoints(
  runFolder: string,
  limit: number,
  bestStep: number | undefined,
): Promise<readonly string[]> {
  const entries = await listCheckpoints(runFolder)
  const last = entries.at(-1)?.step
  const spare = entries.filter(({ step }) => step !== last && step !== bestStep)
  const removed = spare.slice(0, Math.max(0, entries.length - limit)).map(({ path }) => path)
  for (const path of removed) await rm(path, { recursive: true, force: true })
  return removed
}
