import { appendFile, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describeWriteError, writeFileAtomically } from '../checkpoints/atomic-folder.ts'

/** `logging.jsonl` of a run: one JSON object per log line, evaluation and checkpoint. */
export class RunLog {
  /** Its file. */
  readonly path: string

  private constructor(path: string) {
    this.path = path
  }

  /**
   * Opens the log of a run folder; lines of steps after `resumedStep` belong to work that is done again and go.
   */
  static async open(runFolder: string, resumedStep: number): Promise<RunLog> {
    const path = join(runFolder, 'logging.jsonl')
    const text = resumedStep === 0 ? '' : await readFile(path, 'utf8').catch(() => '')
    const kept = text.split('\n').filter((line) => line !== '' && stepOf(line) <= resumedStep)
    if (kept.length > 0) await writeFileAtomically(path, kept.map((line) => `${line}\n`).join(''))
    else await writeLog(path, () => writeFile(path, ''))
    return new RunLog(path)
  }

  /** Appends a line. @throws `ERR_DISK_FULL` */
  async append(record: object): Promise<void> {
    await writeLog(this.path, () => appendFile(this.path, `${JSON.stringify(record)}\n`))
  }
}

async function writeLog(path: string, write: () => Promise<void>): Promise<void> {
  try {
    await write()
  } catch (error) {
    throw describeWriteError(error, `Writing ${path}`)
  }
}

/** Step of a line; infinite for a line that a crash cut short. */
function stepOf(line: string): number {
  try {
    const { step } = JSON.parse(line) as { readonly step?: unknown }
    return typeof step === 'number' ? step : Number.POSITIVE_INFINITY
  } catch {
    return Number.POSITIVE_INFINITY
  }
}
