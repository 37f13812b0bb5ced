import { spawn, type ChildProcess } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { describeMachine } from '../harness/machine.ts'
import { LineChild, numberOf } from '../harness/line-child.ts'
import { randomModelFolder, randomTokens } from '../harness/random-model.ts'
import { makeRow, type Row } from '../harness/row.ts'
import { shapes } from '../harness/shapes.ts'
import { summarise } from '../harness/statistics.ts'
import { numberOption, type Suite, type SuiteContext } from '../harness/suite.ts'
import { readRun, startOwn } from '../harness/training-comparison.ts'

const childOf = (name: string): string => fileURLToPath(new URL(`../children/${name}.ts`, import.meta.url))

/** CPU time that a loaded, idle process takes, as a share of one core, over `seconds`. */
async function measureIdle(folder: string, seconds: number, rounds: number, context: SuiteContext): Promise<Row> {
  const child = new LineChild(process.execPath, ['--conditions=@swift/source', childOf('idle'), folder], context.watch)
  await child.next()
  await sleep(500)
  const shares: number[] = []
  context.watch.restart()
  for (let round = 0; round < rounds; round++) {
    const before = numberOf(await child.ask({}), 'cpuSeconds')
    const start = performance.now()
    await sleep(seconds * 1000)
    const after = numberOf(await child.ask({}), 'cpuSeconds')
    shares.push((100 * 1000 * (after - before)) / (performance.now() - start))
  }
  const othersShare = context.watch.othersShare()
  await child.close()
  return makeRow({
    name: 'idle after loading and one answer',
    unit: '% of a core',
    ours: shares,
    lowerIsBetter: true,
    othersShare,
  })
}

function startBusy(): ChildProcess {
  return spawn(process.execPath, ['-e', 'for (;;) {}'], { stdio: 'ignore' })
}

/** Tokens/s of one training process while `busy` other processes each want a core. */
async function trainBeside(
  busy: number,
  request: object,
  tokensPerStep: number,
  context: SuiteContext,
): Promise<number> {
  const others = Array.from({ length: busy }, startBusy)
  const forget = others.map(({ pid }) => (pid === undefined ? undefined : context.watch.watch(pid)))
  try {
    const child = startOwn(childOf('train'), request, context)
    const answer = await child.next()
    await child.close()
    return readRun(answer, child.startedAt, tokensPerStep, undefined).tokensPerSecond
  } finally {
    for (const other of others) other.kill('SIGKILL')
    for (const stop of forget) stop?.()
  }
}

async function measure(context: SuiteContext): Promise<readonly Row[]> {
  const { options, watch, say } = context
  const [seconds, rounds, steps] = ['seconds', 'rounds', 'steps'].map((name) => numberOption(options, name)) as [
    number,
    number,
    number,
  ]
  const folder = await randomModelFolder('tiny')
  const rows = [await measureIdle(folder, seconds, rounds, context)]
  const sequenceLength = 256
  const tokens = join(folder, 'tokens-idle.json')
  const warmup = 2
  writeFileSync(tokens, JSON.stringify(randomTokens(sequenceLength * (warmup + steps), shapes.tiny.vocabulary, 42)))
  const request = { folder, tokens, sequenceLength, warmup, steps, quantize: false, rank: 16 }
  const { cores } = describeMachine()
  const counts = [...new Set([0, 1, cores])]
  const rates = new Map(counts.map((count): [number, number[]] => [count, []]))
  watch.restart()
  for (let round = 0; round < rounds; round++) {
    for (const [count, found] of rates) {
      found.push(await trainBeside(count, request, sequenceLength, context))
      say(`${count} busy processes beside it: ${found.at(-1)?.toFixed(0)} tokens/s`)
    }
  }
  const othersShare = watch.othersShare()
  const alone = summarise(rates.get(0) ?? []).median
  for (const [count, found] of rates) {
    // A fair scheduler gives `cores` training threads and `count` others equal parts of the cores.
    const fair = alone * Math.min(1, cores / (cores + count))
    rows.push(
      makeRow({
        name: `training beside ${count} busy processes`,
        unit: 'tokens/s',
        ours: found,
        ...(count === 0 ? {} : { limit: fair, note: 'limit: the fair share of the cores' }),
        othersShare,
      }),
    )
  }
  return rows
}

const suite: Suite = {
  summary: 'CPU time of an idle process, and how training slows down beside busy ones (tiny shape)',
  options: {
    seconds: { meaning: 'length of an idle round', default: '2' },
    steps: { meaning: 'measured training steps', default: '20' },
    rounds: { meaning: 'rounds', default: '5' },
  },
  run: measure,
}

export default suite
