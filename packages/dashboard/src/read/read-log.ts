import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { EvaluationPoint, LogPoint, RunProblem } from '../run-data.ts'
import { asNumber, asObject, defined } from './json-value.ts'

/** `logging.jsonl` as read. */
export interface ReadLog {
  readonly log: readonly LogPoint[]
  readonly evaluations: readonly EvaluationPoint[]
}

/** More points than a screen has pixels say nothing more. */
const maximumPoints = 2000

function logPoint(row: Readonly<Record<string, unknown>>, step: number): LogPoint {
  const number = (name: string): number | undefined => asNumber(row[name])
  return defined({
    step,
    epoch: number('epoch'),
    loss: number('loss'),
    tokens: number('tokens'),
    tokensPerSecond: number('tokensPerSecond'),
    learningRate: number('learningRate'),
    measuredJoules: number('measuredJoules'),
    modelledJoules: number('modelledJoules'),
  }) as LogPoint
}

/**
 * Keeps the lowest and the highest loss of each of `limit / 2` stretches, and both ends: peaks survive.
 */
export function thin(points: readonly LogPoint[], limit: number): readonly LogPoint[] {
  if (points.length <= limit) return points
  const stretches = Math.max(1, Math.floor((limit - 2) / 2))
  const kept = new Set<number>([0, points.length - 1])
  for (let stretch = 0; stretch < stretches; stretch++) {
    const from = Math.floor((stretch * points.length) / stretches)
    const to = Math.floor(((stretch + 1) * points.length) / stretches)
    let [lowest, highest] = [from, from]
    for (let index = from; index < to; index++) {
      const loss = points[index]?.loss
      if (loss === undefined) continue
      if (loss < (points[lowest]?.loss ?? Number.POSITIVE_INFINITY)) lowest = index
      if (loss > (points[highest]?.loss ?? Number.NEGATIVE_INFINITY)) highest = index
    }
    kept.add(lowest)
    kept.add(highest)
  }
  return points.filter((_, index) => kept.has(index))
}

/** Reads the log of a run folder. Lines that do not parse are left out and counted in a problem. */
export async function readLog(folder: string, problems: RunProblem[]): Promise<ReadLog> {
  const path = join(folder, 'logging.jsonl')
  let text = ''
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    if (code !== 'ENOENT' && code !== 'ENOTDIR') {
      problems.push({
        severity: 'error',
        code: 'ERR_RUN_FILE',
        found: `logging.jsonl cannot be read: ${code}.`,
        remedy: 'Check its permissions; losses are not shown without it.',
      })
    }
    return { log: [], evaluations: [] }
  }
  const log: LogPoint[] = []
  const evaluations: EvaluationPoint[] = []
  const damaged: number[] = []
  const lines = text.split('\n')
  for (const [index, line] of lines.entries()) {
    // What follows the last line feed is a line that is being written.
    if (line.trim() === '' || index === lines.length - 1) continue
    const row = parseRow(line)
    const step = asNumber(row?.['step'])
    if (row === undefined || step === undefined) damaged.push(index + 1)
    else if (row['type'] === 'log') log.push(logPoint(row, step))
    else if (row['type'] === 'evaluation') {
      evaluations.push(
        defined({ step, loss: asNumber(row['loss']), isBest: row['isBest'] === true }) as EvaluationPoint,
      )
    }
  }
  if (damaged.length > 0) {
    const shown = damaged.slice(0, 5).join(', ')
    problems.push({
      severity: 'error',
      code: 'ERR_RUN_LOG_LINES',
      found: `${damaged.length} of ${lines.length - 1} lines of logging.jsonl do not parse (line ${shown}${damaged.length > 5 ? ', …' : ''}); they are left out.`,
      remedy: 'Look at these lines; the other lines are shown.',
    })
  }
  const missing = log.filter(({ loss }) => loss === undefined).length
  if (missing > 0) {
    problems.push({
      severity: 'note',
      code: 'WARN_LOSS_NOT_FINITE',
      found: `${missing} log lines have a loss that is not a number; the curve has a hole there.`,
      remedy: 'See the notes of the run: a skipped step, or a learning rate that is too high.',
    })
  }
  return { log: thin(log, maximumPoints), evaluations }
}

function parseRow(line: string): Readonly<Record<string, unknown>> | undefined {
  try {
    return asObject(JSON.parse(line))
  } catch {
    return undefined
  }
}
