import { readFileSync } from 'node:fs'

/** CPU time at a moment, in clock ticks. */
export interface CpuReading {
  /** Busy on all CPUs, time stolen by other virtual machines included. */
  readonly busy: number
  /** Busy and idle. */
  readonly total: number
  /** Of this process, its living watched children and its ended ones. */
  readonly own: number
}

/** The first line of /proc/stat. */
export function parseMachine(text: string): { busy: number; total: number } {
  // user, nice, system, idle, iowait, irq, softirq, steal; guest time is inside user already.
  const fields = (text.split('\n')[0] ?? '').trim().split(/\s+/).slice(1, 9).map(Number)
  const total = fields.reduce((sum, value) => sum + value, 0)
  return { busy: total - (fields[3] ?? 0) - (fields[4] ?? 0), total }
}

/** User and system time of a process and of its children that ended, from /proc/PID/stat. */
export function parseProcess(text: string): number {
  // The name in parentheses may hold spaces: fields count from the last parenthesis; utime is the 14th of the line.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  return fields.slice(11, 15).reduce((sum, value) => sum + Number(value), 0)
}

/** Tells how much of the machine other processes took while something was measured. Linux only; elsewhere unknown. */
export class CpuWatch {
  readonly #children = new Set<number>()
  #start: CpuReading | undefined = this.#read()

  /** Counts a child as ours from now on. @returns call it when the child has ended */
  watch(pid: number): () => void {
    this.#children.add(pid)
    return () => void this.#children.delete(pid)
  }

  /** Begins a measurement. */
  restart(): void {
    this.#start = this.#read()
  }

  /** Share of all CPU time since the last restart that was not ours, 0 … 1; undefined where it cannot be known. */
  othersShare(): number | undefined {
    const end = this.#read()
    if (this.#start === undefined || end === undefined) return undefined
    return othersShareBetween(this.#start, end)
  }

  #read(): CpuReading | undefined {
    if (process.platform !== 'linux') return undefined
    try {
      let own = parseProcess(readFileSync('/proc/self/stat', 'utf8'))
      for (const pid of this.#children) {
        try {
          own += parseProcess(readFileSync(`/proc/${pid}/stat`, 'utf8'))
        } catch {
          // It ended: its time is in that of our ended children.
        }
      }
      return { ...parseMachine(readFileSync('/proc/stat', 'utf8')), own }
    } catch {
      return undefined
    }
  }
}

/** Share of the machine that was not ours between two readings; ticks are 10 ms, so short spans are coarse. */
export function othersShareBetween(start: CpuReading, end: CpuReading): number | undefined {
  const total = end.total - start.total
  if (total <= 0) return undefined
  return Math.max(0, end.busy - start.busy - (end.own - start.own)) / total
}
