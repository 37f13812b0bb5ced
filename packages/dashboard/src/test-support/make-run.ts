import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Ledger } from '@swift/energy'
import { FakePowercapTree } from '@swift/testing'

/** A folder for one test, removed with it. */
export class TestFolder implements AsyncDisposable {
  readonly path: string

  private constructor(path: string) {
    this.path = path
  }

  static async make(): Promise<TestFolder> {
    return new TestFolder(await mkdtemp(join(tmpdir(), 'swift-dashboard-')))
  }

  join(...names: readonly string[]): string {
    return join(this.path, ...names)
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.path, { recursive: true, force: true })
  }
}

/** How {@link makeRun} makes a run. */
export interface MakeRunOptions {
  /** Joules that the package's counter shows in each of the phases. Default 3. */
  readonly joules?: bigint
  /** Loss of the last of the 40 log lines. Default 0.5. */
  readonly lastLoss?: number
  /** Called before the ledger is closed. */
  readonly beforeClose?: () => Promise<void>
  /** Further members of `args.json`. */
  readonly args?: object
}

/** Phases of {@link makeRun}, in order. */
export const phasesOfRun: readonly string[] = [
  'tokenise',
  'train/epoch:0/forward',
  'train/epoch:0/backward',
  'train/epoch:1/forward',
]

/** Writes `logging.jsonl`: 40 lines, and one evaluation. */
export async function writeLog(folder: string, lastLoss = 0.5): Promise<void> {
  const lines = Array.from({ length: 40 }, (_, index) => ({
    type: 'log',
    step: index + 1,
    epoch: index / 20,
    loss: lastLoss * (40 / (index + 1)),
    tokens: 100 * (index + 1),
    tokensPerSecond: 1000,
    learningRate: 1e-3,
    measuredJoules: 0.3 * (index + 1),
    modelledJoules: 0.01 * (index + 1),
  }))
  const evaluation = { type: 'evaluation', step: 40, loss: lastLoss * 1.1, tokenAccuracy: 0.9, isBest: true }
  await writeFile(
    join(folder, 'logging.jsonl'),
    [...lines, evaluation].map((line) => `${JSON.stringify(line)}\n`).join(''),
  )
}

/** A run folder as a trainer leaves it, metered by a fake counter for the package and the memory model. */
export async function makeRun(folder: string, options: MakeRunOptions = {}): Promise<void> {
  const { joules = 3n, lastLoss = 0.5, beforeClose, args = {} } = options
  await mkdir(folder, { recursive: true })
  using tree = new FakePowercapTree([{ entry: 'intel-rapl:0', name: 'package-0' }])
  const ledger = await Ledger.open(join(folder, 'energy'), {
    powercapRoot: tree.root,
    samplePeriodMs: 10,
    commitMs: 20,
    idle: { seconds: 0 },
    exclusive: true,
    sync: false,
  })
  try {
    for (const path of phasesOfRun) {
      using _phase = ledger.phase(path)
      await sleep(30)
      // In steps, as power comes: nobody knows when between two readings a leap was spent.
      for (let step = 0; step < 10; step += 1) {
        tree.add('intel-rapl:0', joules * 100_000_000n)
        await sleep(5)
      }
      await sleep(30)
    }
    await writeLog(folder, lastLoss)
    await writeFile(join(folder, 'args.json'), JSON.stringify({ learningRate: 1e-3, numTrainEpochs: 2, ...args }))
    await writeFile(
      join(folder, 'plan.json'),
      JSON.stringify({
        model: 'tiny',
        device: 'cpu',
        threads: 2,
        length: { totalSteps: 40 },
        joules: { measured: 10 },
        seconds: 0.2,
      }),
    )
    await beforeClose?.()
  } finally {
    await ledger.close()
  }
  await writeFile(join(folder, 'trainer_state.json'), JSON.stringify({ reason: 'finished', durationMs: 280 }))
}
