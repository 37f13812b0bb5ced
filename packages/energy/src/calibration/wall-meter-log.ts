import { readFile } from 'node:fs/promises'
import { SwiftError } from '@swift/spec'

/** One line of a wall meter's record. */
interface MeterLine {
  readonly unixMs: number
  readonly watts: number
}

/** Two lines further apart than this leave a hole that no stretch may cross. */
const longestStepMs = 60_000

/** What a wall meter recorded: power at instants. */
export class WallMeterLog {
  readonly #lines: readonly MeterLine[]

  private constructor(lines: readonly MeterLine[]) {
    this.#lines = lines
  }

  /**
   * Reads a CSV with a header that names `watts` and one of `unix_ms`, `unix_seconds` or `time` (ISO 8601).
   * @throws `ERR_CALIBRATION_DATA` naming the line, and for a file that cannot be read
   */
  static async read(path: string): Promise<WallMeterLog> {
    const text = await readFile(path, 'utf8').catch((cause: unknown) => {
      throw new SwiftError({
        code: 'ERR_CALIBRATION_DATA',
        asked: `The wall meter's record ${path}`,
        found: cause instanceof Error ? cause.message : String(cause),
        remedy: 'Name the CSV that the meter wrote',
        cause,
      })
    })
    return WallMeterLog.parse(text, path)
  }

  /** As {@link read}, from text. */
  static parse(text: string, name: string): WallMeterLog {
    const refuse = (found: string): SwiftError =>
      new SwiftError({
        code: 'ERR_CALIBRATION_DATA',
        asked: `The wall meter's record ${name}`,
        found,
        remedy: 'Write a CSV with the columns time (ISO 8601), unix_seconds or unix_ms, and watts, in order of time',
      })
    const rows = text.split(/\r?\n/).filter((line) => line.trim() !== '')
    const header = (rows.shift() ?? '').split(',').map((cell) => cell.trim().toLowerCase())
    const watts = header.indexOf('watts')
    const times = ['unix_ms', 'unix_seconds', 'time'] as const
    const unit = times.find((column) => header.includes(column))
    if (watts < 0 || unit === undefined) throw refuse(`the columns ${header.join(', ')}`)
    const column = header.indexOf(unit)
    const lines: MeterLine[] = []
    for (const [index, row] of rows.entries()) {
      const cells = row.split(',').map((cell) => cell.trim())
      const cell = cells[column] ?? ''
      const unixMs =
        unit === 'time' ? Date.parse(cell) : Number(cell === '' ? Number.NaN : cell) * (unit === 'unix_ms' ? 1 : 1000)
      const power = Number(cells[watts] === '' ? Number.NaN : cells[watts])
      const isLater = unixMs > (lines.at(-1)?.unixMs ?? -Infinity)
      if (!Number.isFinite(unixMs) || !(power >= 0) || !isLater) {
        throw refuse(
          `line ${index + 2}: ${row}${isLater || Number.isNaN(unixMs) ? '' : ' (not later than the line before)'}`,
        )
      }
      lines.push({ unixMs, watts: power })
    }
    if (lines.length < 2) throw refuse(`${lines.length} lines of data`)
    return new WallMeterLog(lines)
  }

  /** Joules from one instant to another, by trapezoids; `undefined` where the record does not cover them without a hole. */
  joules(startUnixMs: number, endUnixMs: number): number | undefined {
    let sum = 0
    let covered = startUnixMs
    for (const [index, left] of this.#lines.entries()) {
      const right = this.#lines[index + 1]
      if (right === undefined || right.unixMs <= startUnixMs) continue
      if (left.unixMs >= endUnixMs) break
      if (left.unixMs > covered || right.unixMs - left.unixMs > longestStepMs) return undefined
      const from = Math.max(left.unixMs, startUnixMs)
      const until = Math.min(right.unixMs, endUnixMs)
      const at = (unixMs: number): number =>
        left.watts + ((right.watts - left.watts) * (unixMs - left.unixMs)) / (right.unixMs - left.unixMs)
      sum += ((at(from) + at(until)) / 2) * ((until - from) / 1000)
      covered = until
    }
    return covered >= endUnixMs ? sum : undefined
  }
}
