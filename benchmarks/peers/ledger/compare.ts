// node --conditions=@swift/source benchmarks/peers/ledger/compare.ts [--python .venv/bin/python] [--json FILE] [V1 …]
import { type ChildProcess, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { Ledger, type Phase, type SettledEnergy } from '@swift/energy'
import { LinuxPowercapTree } from './fake-tree.ts'
import { type ToolCommands, type Vector, vectors } from './vectors.ts'

/** What a tool answered; `undefined` joules and a text where it failed. */
interface Answer {
  readonly joules: number | undefined
  readonly error: string | undefined
}

interface Tool extends ToolCommands {
  readonly end: () => Promise<{ readonly joules: number; readonly tasks: number; readonly error?: string }>
}

async function ours(root: string): Promise<{ tool: Tool; dispose: () => Promise<void> }> {
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
    dispose: async () => {
      await ledger?.close()
      rmSync(directory, { recursive: true, force: true })
    },
  }
}

async function peer(python: string, name: string, root: string): Promise<{ tool: Tool; dispose: () => Promise<void> }> {
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
    dispose: async () => void child.kill(),
  }
}

async function measure(
  vector: Vector,
  start: (root: string) => Promise<{ tool: Tool; dispose: () => Promise<void> }>,
): Promise<{ readonly truth: number | undefined; readonly answer: Answer }> {
  using tree = new LinuxPowercapTree(vector.zones)
  let truth: number | undefined
  try {
    const { tool, dispose } = await start(tree.root)
    try {
      truth = Number(await vector.feed(tree, tool)) / 1e9
      const { error, ...answers } = await tool.end()
      const joules: number | undefined = answers[vector.answer]
      return { truth, answer: { joules: error === undefined ? joules : undefined, error } }
    } finally {
      await dispose()
    }
  } catch (error) {
    return { truth, answer: { joules: undefined, error: error instanceof Error ? error.message : String(error) } }
  }
}

/** Within 1 %, or within what two ticks of the feeder can hold at the edges of a task. */
function isRight(vector: Vector, truth: number, joules: number | undefined): boolean {
  if (joules === undefined) return false
  const edge = vector.id === 'V5' ? 8 : 0
  return Math.abs(joules - truth) <= 0.01 * truth + edge
}

const { values, positionals } = parseArgs({
  options: { python: { type: 'string', default: 'python3' }, json: { type: 'string' } },
  allowPositionals: true,
})
const python = values.python
const chosen = vectors.filter(({ id }) => positionals.length === 0 || positionals.includes(id))
const tools: readonly [string, (root: string) => ReturnType<typeof ours>][] = [
  ['swift', ours],
  ['codecarbon', (root) => peer(python, 'codecarbon', root)],
  ['zeus', (root) => peer(python, 'zeus', root)],
]
if (!existsSync(python) && python.includes('/')) throw new Error(`no interpreter ${python}`)

const rows: object[] = []
console.log(
  `vectors on a real clock; ${cpus()[0]?.model.trim() ?? 'unknown processor'}, ${new Date().toISOString().slice(0, 10)}`,
)
console.log(['', 'truth', ...tools.map(([name]) => name)].map((cell) => cell.padEnd(28)).join(''))
for (const vector of chosen) {
  const cells: string[] = []
  let shownTruth = ''
  for (const [name, start] of tools) {
    const { truth, answer } = await measure(vector, start)
    const right = truth !== undefined && isRight(vector, truth, answer.joules)
    if (name === 'swift' && truth !== undefined) shownTruth = `${truth.toFixed(3)} J`
    const shown =
      answer.joules === undefined ? `failed: ${answer.error ?? ''}`.slice(0, 24) : `${answer.joules.toFixed(3)} J`
    // Every tool was fed on its own; its truth may differ by a tick where the tool itself decides when a task begins.
    cells.push(`${shown}${right ? '' : ` ✗ of ${truth?.toFixed(3) ?? '?'}`}`)
    rows.push({ vector: vector.id, title: vector.title, tool: name, truthJoules: truth, ...answer, right })
  }
  console.log([`${vector.id}`, shownTruth, ...cells].map((cell) => cell.padEnd(28)).join(''))
  console.log(`    ${vector.title}`)
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(rows, null, 2)}\n`)
