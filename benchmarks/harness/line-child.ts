import { spawn, type ChildProcess } from 'node:child_process'
import { basename, isAbsolute } from 'node:path'
import { createInterface } from 'node:readline'
import type { CpuWatch } from './cpu-watch.ts'

/** One answer of a child. */
export type Answer = Readonly<Record<string, unknown>>

/** A number of an answer. @throws TypeError when it is none */
export function numberOf(answer: Answer, name: string): number {
  const value = answer[name]
  if (typeof value !== 'number') throw new TypeError(`the child answered ${JSON.stringify(answer)}, without ${name}`)
  return value
}

/** A word of a command line as errors name it: a file without its folder, and no requests. */
function shortWord(word: string): string {
  if (word.startsWith('{')) return '{…}'
  return isAbsolute(word) ? basename(word) : word
}

/** A child process that answers JSON lines: those that begin with a brace; other lines go to standard error. */
export class LineChild {
  /** When it was started, in milliseconds since the epoch. */
  readonly startedAt: number = Date.now()
  readonly #process: ChildProcess
  readonly #answers: Answer[] = []
  readonly #waiting: { resolve: (answer: Answer) => void; reject: (error: Error) => void }[] = []
  readonly #ended: Promise<void>
  #failure: Error | undefined
  #lastErrors = ''

  constructor(
    command: string,
    args: readonly string[],
    watch: CpuWatch,
    options: { readonly env?: NodeJS.ProcessEnv } = {},
  ) {
    const child = spawn(command, args, { stdio: ['pipe', 'pipe', 'pipe'], env: options.env ?? process.env })
    this.#process = child
    const forget = child.pid === undefined ? undefined : watch.watch(child.pid)
    child.stderr.on('data', (data: Buffer) => {
      this.#lastErrors = (this.#lastErrors + data.toString()).slice(-4000)
    })
    child.stdin.on('error', () => undefined)
    createInterface({ input: child.stdout }).on('line', (line) => this.#take(line))
    const ended = Promise.withResolvers<undefined>()
    this.#ended = ended.promise
    const end = (reason: string): void => {
      forget?.()
      this.#failure ??= new Error(`${[command, ...args].map(shortWord).join(' ')}: ${reason}\n${this.#lastErrors}`)
      for (const { reject } of this.#waiting.splice(0)) reject(this.#failure)
      ended.resolve(undefined)
    }
    child.on('error', (error) => end(error.message))
    child.on('close', (status, signal) => end(`ended with ${signal ?? status}`))
  }

  #take(line: string): void {
    if (!line.startsWith('{')) return
    const answer = JSON.parse(line) as Answer
    const waiting = this.#waiting.shift()
    if (waiting === undefined) this.#answers.push(answer)
    else waiting.resolve(answer)
  }

  /** The next line it answers. @throws when it ends first, with the end of its standard error */
  async next(): Promise<Answer> {
    const answer = this.#answers.shift()
    if (answer !== undefined) return answer
    if (this.#failure !== undefined) throw this.#failure
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
  }

  /** Sends a line and waits for the answer. */
  async ask(question: Answer): Promise<Answer> {
    this.#process.stdin?.write(`${JSON.stringify(question)}\n`)
    return this.next()
  }

  /** The next line, or undefined when there is none within so many seconds: the process is then ended. */
  async nextWithin(seconds: number): Promise<Answer | undefined> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), 1000 * seconds)
    })
    const answer = this.next()
    // After the time is up nobody waits for it, and the end of the process is no failure.
    answer.catch(() => undefined)
    try {
      const first = await Promise.race([answer, late])
      if (first === undefined) this.#process.kill('SIGKILL')
      return first
    } finally {
      clearTimeout(timer)
    }
  }

  /** Ends its input and waits until it has gone. */
  async close(): Promise<void> {
    this.#process.stdin?.end()
    await this.#ended
  }
}
