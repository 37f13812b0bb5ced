import { mkdir, readdir, rename, rm } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { SwiftError } from '@swift/spec'
import { describeWriteError, removeIncomplete } from '../checkpoints/atomic-folder.ts'
import { CheckpointStore } from '../checkpoints/checkpoint-store.ts'
import { listCheckpoints } from '../checkpoints/list-checkpoints.ts'
import { readTrainerState, type TrainerState } from '../checkpoints/trainer-state.ts'
import type { NoteEvent } from '../events/training-event.ts'

/** A run folder that is ready for its run. */
export interface OpenedRunFolder {
  /** Its absolute path. */
  readonly runFolder: string
  /** Checkpoint to continue from. */
  readonly path: string | undefined
  /** Its state. */
  readonly state: TrainerState | undefined
  /** What was found and done. */
  readonly notes: readonly NoteEvent[]
}

/** `output/<model>-<date>-<time>`, in UTC. */
export function defaultRunFolder(model: string): string {
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-')
  return join('output', `${model}-${stamp}`)
}

/** Whether a folder can take a new run; for commands that choose one. */
export async function isRunFolderFree(folder: string): Promise<boolean> {
  const names = await readdir(folder).catch(() => [])
  return !names.some((name) => name.startsWith('checkpoint-'))
}

function note(code: string, message: string): NoteEvent {
  return { type: 'note', code, message }
}

/**
 * Makes a run folder, clears interrupted writes, and finds the checkpoint to continue from. When the run goes back to
 * an earlier checkpoint of its own, the later ones are set aside as `checkpoint-<step>.superseded`: they belong to
 * steps that are done again, and `auto` must not find them.
 * @throws `ERR_RUN_EXISTS` for a new run where one has checkpoints; `ERR_CHECKPOINT_MISSING`, `ERR_CHECKPOINT_INVALID`;
 *   `ERR_DISK_FULL`, `ERR_FILE_WRITE` where it cannot be made
 */
export async function openRunFolder(folder: string, resumeFrom: string | undefined): Promise<OpenedRunFolder> {
  const runFolder = resolve(folder)
  await mkdir(runFolder, { recursive: true }).catch((error: unknown) => {
    throw describeWriteError(error, `The run folder ${runFolder}`)
  })
  const left = await removeIncomplete(runFolder)
  const checkpoints = await listCheckpoints(runFolder)
  if (resumeFrom === undefined && checkpoints.length > 0) {
    throw new SwiftError({
      code: 'ERR_RUN_EXISTS',
      asked: `A new run in ${runFolder}`,
      found: `it holds checkpoints up to step ${checkpoints.at(-1)?.step ?? 0} of another run`,
      remedy: 'Continue it with resumeFromCheckpoint: auto, or choose another outputDir',
    })
  }
  const path = resumeFrom === undefined ? undefined : await new CheckpointStore(runFolder, 1).find(resumeFrom)
  const state = path === undefined ? undefined : await readTrainerState(path)
  const notes: NoteEvent[] = []
  if (left.length > 0) {
    notes.push(
      note('WARN_CHECKPOINT_INCOMPLETE', `Removed interrupted writes of an earlier process: ${left.join(', ')}`),
    )
  }
  const isOwn = path !== undefined && dirname(path) === runFolder
  const later = isOwn && state !== undefined ? checkpoints.filter(({ step }) => step > state.step) : []
  for (const entry of later) {
    await rm(`${entry.path}.superseded`, { recursive: true, force: true })
    await rename(entry.path, `${entry.path}.superseded`)
    notes.push(
      note(
        'WARN_CHECKPOINT_SUPERSEDED',
        `${entry.path} is later than the checkpoint resumed; it is now ${entry.path}.superseded`,
      ),
    )
  }
  return { runFolder, path, state, notes }
}
