import { access, writeFile } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { SwiftError, type OptimizerState } from '@swift/spec'
import type { Tensor } from '@swift/tensor'
import { readAdapterConfig, type AttachedAdapters } from '../model/attached-adapters.ts'
import { trainingOnlyOptions } from '../model/resolve-tuner.ts'
import type { SwiftModel } from '../model/swift-model.ts'
import { writeFolderAtomically } from './atomic-folder.ts'
import { listCheckpoints, pruneCheckpoints } from './list-checkpoints.ts'
import { readOptimizerState, writeOptimizerState } from './optimizer-file.ts'
import { readTrainerState, trainerStateFile, type TrainerState } from './trainer-state.ts'

/** The checkpoints of a run folder. */
export class CheckpointStore {
  /** Folder of the run. */
  readonly runFolder: string
  readonly #keep: number

  /** @param keep - checkpoints to keep; the best and the last always stay */
  constructor(runFolder: string, keep: number) {
    this.runFolder = runFolder
    this.#keep = keep
  }

  /** Folder of the checkpoint of a step. */
  pathOf(step: number): string {
    return join(this.runFolder, `checkpoint-${step}`)
  }

  /**
   * Writes `checkpoint-<step>`, all of it or nothing, then removes those beyond the limit.
   * @returns its folder
   * @throws `ERR_DISK_FULL`; earlier checkpoints are then as they were
   */
  async write(model: SwiftModel, state: OptimizerState<Tensor>, trainer: TrainerState, args: object): Promise<string> {
    const path = this.pathOf(trainer.step)
    await writeFolderAtomically(path, (folder) => writeCheckpoint(folder, model, state, trainer, args))
    await pruneCheckpoints(this.runFolder, this.#keep, trainer.best?.step)
    return path
  }

  /**
   * The checkpoint to resume from: a folder, or with `auto` the last one of the run.
   * @returns undefined when `auto` finds none
   * @throws `ERR_CHECKPOINT_MISSING`
   */
  async find(resumeFrom: string): Promise<string | undefined> {
    if (resumeFrom === 'auto') return (await listCheckpoints(this.runFolder)).at(-1)?.path
    const path = resolve(resumeFrom)
    await readTrainerState(path)
    return path
  }
}

async function writeCheckpoint(
  folder: string,
  model: SwiftModel,
  state: OptimizerState<Tensor>,
  trainer: TrainerState,
  args: object,
): Promise<void> {
  await model.writeTrained(folder)
  await writeOptimizerState(folder, state)
  await writeFile(join(folder, 'args.json'), `${JSON.stringify(args, null, 2)}\n`)
  await writeFile(join(folder, trainerStateFile), `${JSON.stringify(trainer, null, 2)}\n`)
}

/**
 * Puts the weights of a checkpoint into a model and reads its optimizer state.
 * @throws `ERR_CHECKPOINT_INVALID`, `ERR_ADAPTER_TENSORS`
 */
export async function restoreCheckpoint(
  path: string,
  model: SwiftModel,
  trainer: TrainerState,
): Promise<OptimizerState<Tensor>> {
  if (model.adapters !== undefined) checkAdapter(path, model.adapters, await readAdapterConfig(path))
  await model.loadTrained(path)
  const names = new Set(model.trainables().map(({ name }) => name))
  const hasState = await access(join(path, 'optimizer.safetensors')).then(
    () => true,
    () => false,
  )
  if (hasState) return readOptimizerState(path, model.device, names)
  if (trainer.optimizer.updates === 0 || trainer.optimizer.id === 'sgd') return new Map()
  throw new SwiftError({
    code: 'ERR_CHECKPOINT_INVALID',
    asked: `Resuming from ${path}`,
    found: `optimizer.safetensors is missing, and ${trainer.optimizer.id} has state after ${trainer.optimizer.updates} updates`,
    remedy: 'Use a whole checkpoint, or start anew with its adapter',
  })
}

/** Options that differ in form only: which layers they name shows in the tensors. */
const namesLayers: ReadonlySet<string> = new Set(['targetModules', 'excludeModules'])

/** Whether the adapter's scale, rank and the like are those of the checkpoint: its tensors alone do not tell. */
function checkAdapter(
  path: string,
  { adapter, options }: AttachedAdapters,
  config: Readonly<Record<string, unknown>>,
): void {
  const saved = adapter.doReadConfig(config)
  const differences = Object.entries(saved).filter(
    ([name, value]) =>
      !trainingOnlyOptions.has(name) &&
      !namesLayers.has(name) &&
      JSON.stringify(value) !== JSON.stringify(options[name]),
  )
  if (differences.length === 0) return
  throw new SwiftError({
    code: 'ERR_RESUME_MISMATCH',
    asked: `Resuming from ${path}`,
    found: differences
      .map(([name, value]) => `${name} was ${JSON.stringify(value)} and is ${JSON.stringify(options[name])}`)
      .join('; '),
    remedy: 'Resume with the adapter options of the run that wrote it',
  })
}
