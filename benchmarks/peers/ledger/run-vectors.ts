import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { Ledger, type Phase, type SettledEnergy } from '@swift/energy'
import { LinuxPowercapTree } from './fake-tree.ts'
import { type ToolCommands, type Vector, vectors } from './vectors.ts'

/** What a tool made of a vector. */
export interface VectorAnswer {
  readonly vector: string
  readonly title: string
  readonly tool: string
  /** Joules that were fed while this tool measured. */
  readonly truthJoules: number | undefined
  /** What it reported; `undefined` where it failed. */
  readonly joules: number | undefined
  readonly error: string | undefined
  readonly right: boolean
}

interface Tool extends ToolCommands {
  readonly end: () => Promise<{ readonly joules: number; readonly tasks: number; readonly error?: string }>
}

interface OpenTool extends AsyncDisposable {
  readonly tool: Tool
}

/** Python with CodeCarbon and Zeus, which `pnpm bench:peers` installs; `undefined`: they are not installed. */
export function ledgerPeersPython(): string | undefined {
  const inside = process.platform === 'win32' ? 'Scripts/python.exe' : 'bin/python'
  const python = fileURLToPath(new URL(`.venv/${inside}`, import.meta.url))
  return existsSync(python) ? python : undefined
}

async function ours(root: string): Promise<OpenTool> {
  const directory = mkdtempSync(join(tmpdir(), 'swift-peers-'))
  // Exclusive: the vectors ask for the joules of the counter, not for this process's share of them.
  const open = (): Promise<Ledger> =>
    Ledger.open(directory, { powercapRoot: root, idle: { seconds: 0 }, exclusive: true, sync: false })
  let ledger: Ledger | undefined
  let task: Phase | undefined
  let tasks = 0
  const measured = (split: SettledEnergy['active']): number => Number(split.measured?.nanojoules ?? 0n) / 1e9
  const begin = async (): Promise<void> => {
    ledger ??= await open()
    await ledger.settle()
  }
  return {
    tool: {
      begin,
      taskBegin: async () => {
        await begin()
        task = ledger?.phase('task')
      },
      taskEnd: async () => {
        task?.end()
        const settled = task === undefined ? undefined : await ledger?.settle(task)
        tasks += settled === undefined ? 0 : measured(settled.active) + measured(settled.idle)
      },
      end: async () => {
        const totals = await ledger?.close()
        return { joules: Number(totals?.energy.measured?.nanojoules ?? 0n) / 1e9, tasks }
      },
    },
    [Symbol.asyncDispose]: async () => {
      await ledger?.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

async function peer(python: string, name: string, root: string): Promise<OpenTool> {
  const script = fileURLToPath(new URL('meter.py', import.meta.url))
  const child: ChildProcess = spawn(python, [script, name, root], { stdio: ['pipe', 'pipe', 'pipe'] })
  let errors = ''
  child.stderr?.on('data', (data) => (errors = `${errors}${String(data)}`.slice(-2000)))
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })[Symbol.asyncIterator]()
  const answer = async (): Promise<string> => {
    const { value, done } = await lines.next()
    if (done === true) throw new Error(`${name} ended: ${errors.trim().split('\n').at(-1) ?? ''}`)
    return value as string
  }
  const say = async (command: string): Promise<string> => {
    child.stdin?.write(`${command}\n`)
    return answer()
  }
  await answer()
  return {
    tool: {
      begin: async () => void (await say('begin')),
      taskBegin: async () => void (await say('task-begin')),
      taskEnd: async () => void (await say('task-end')),
      end: async () => JSON.parse(await say('end')) as { joules: number; tasks: number; error?: string },
    },
    [Symbol.asyncDispose]: async () => void child.kill(),
  }
}

/** Within 1 %, or within what two ticks of the feeder can hold at the edges of a task. */
function isRight(vector: Vector, truth: number | undefined, joules: number | undefined): boolean {
  if (truth === undefined || joules === undefined) return false
  const edge = vector.id === 'V5' ? 8 : 0
  return Math.abs(joules - truth) <= 0.01 * truth + edge
}

async function measure(
  vector: Vector,
  tool: string,
  start: (root: string) => Promise<OpenTool>,
): Promise<VectorAnswer> {
  using tree = new LinuxPowercapTree(vector.zones)
  let [truth, joules, error]: [number | undefined, number | undefined, string | undefined] = [
    undefined,
    undefined,
    undefined,
  ]
  try {
    await using open = await start(tree.root)
    truth = Number(await vector.feed(tree, open.tool)) / 1e9
    const answers = await open.tool.end()
    error = answers.error
    if (error === undefined) joules = answers[vector.answer]
  } catch (cause) {
    error = cause instanceof Error ? cause.message : String(cause)
  }
  const right = isRight(vector, truth, joules)
  return { vector: vector.id, title: vector.title, tool, truthJoules: truth, joules, error, right }
}

/**
 * Feeds the vectors to the ledger and, where there is a Python for them, to CodeCarbon and Zeus, one after the other.
 * @param ids which vectors; none: all
 */
export async function* runVectors(
  python: string | undefined,
  ids: readonly string[] = [],
): AsyncGenerator<readonly VectorAnswer[], void> {
  const peers = python === undefined ? [] : (['codecarbon', 'zeus'] as const)
  for (const vector of vectors.filter(({ id }) => ids.length === 0 || ids.includes(id))) {
    const answers = [await measure(vector, 'swift', ours)]
    for (const name of peers) answers.push(await measure(vector, name, (root) => peer(python ?? '', name, root)))
    yield answers
  }
}
