import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Ledger } from '@swift/energy'
import { device, linear, scope, uniform, type Tensor } from '@swift/tensor'
import { bootstrapMean } from '../harness/bootstrap.ts'
import { repository } from '../harness/machine.ts'
import { ledgerPeersPython, runVectors, type VectorAnswer } from '../peers/ledger/run-vectors.ts'
import { makeRow, type Row } from '../harness/row.ts'
import { choiceOption, numberOption, type Suite, type SuiteContext } from '../harness/suite.ts'

/** What others publish or were measured at, by the name of our figure. */
const published: Readonly<Record<string, string>> = {
  conservation: 'CodeCarbon −19 … −21 % on two tasks at constant power; others do not check',
  vectors: 'CodeCarbon fails V1–V5, Zeus V3 and V8, carbontracker V6 and V7',
  'class sum, 50 ms': 'plain reads at the boundaries, as every other tool does: 71 %',
  'class sum, 120 ms': 'plain reads: 27 %',
  'class sum, 280 ms': 'plain reads: 10 %',
  'class sum, 550 ms': 'plain reads: 2 %',
  'truth in': 'no other tool states intervals',
  'phase mark': 'others 3 to 11 µs; Zeus two synchronisations',
  load: 'others 0.25 to 46.75 % at 1 kHz',
  merge: 'others: by hand',
}

interface NativeFigure {
  readonly name: string
  readonly unit: string
  readonly value: number
  readonly limit?: number
  readonly atLeast?: boolean
  readonly detail: string
}

function noteOf({ name, detail, limit, atLeast }: NativeFigure): string {
  const others = Object.entries(published).find(([part]) => name.includes(part))?.[1]
  const goal = limit === undefined ? '' : `goal ${atLeast === true ? '≥' : '≤'} ${limit}; `
  return `${goal}${detail}${others === undefined ? '' : `; published: ${others}`}`
}

/** The figures that the native ledger measures on replays and on itself. */
function nativeRows(quick: boolean): Row[] {
  const words = ['run', '--release', '--quiet', '-p', 'swift-meter', '--example', 'ledger_bench', '--', '--json']
  const printed = execFileSync('cargo', [...words, ...(quick ? ['--quick'] : [])], {
    cwd: join(repository, 'native/kernels'),
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const { results } = JSON.parse(printed) as { readonly results: readonly NativeFigure[] }
  return results.map((figure) =>
    makeRow({
      name: figure.name,
      unit: figure.unit,
      ours: [figure.value],
      // A limit of 0 has no share of it; the note names it.
      ...(figure.limit === undefined || figure.limit === 0 || figure.value === 0 ? {} : { limit: figure.limit }),
      lowerIsBetter: figure.atLeast !== true,
      note: noteOf(figure),
    }),
  )
}

/** Seconds of `steps` steps of arithmetic, each a forward and a backward phase where there is a ledger. */
async function timeSteps(x: Tensor, weight: Tensor, steps: number, ledger: Ledger | undefined): Promise<number> {
  const on = x.device
  const start = performance.now()
  for (let step = 0; step < steps; step++) {
    for (const name of ['forward', 'backward']) {
      const phase = ledger?.phase(`train/epoch:0/${name}`, { stream: on })
      scope(() => void linear(x, weight))
      phase?.end()
    }
    await on.flush()
  }
  return (performance.now() - start) / 1000
}

/**
 * How much longer a step takes with a ledger that samples ten times a second: pairs of blocks, with and without in turn, in
 * the order ABBA so that a drift of the machine cancels.
 */
async function overheadRows(pairs: number, { watch, say }: SuiteContext): Promise<Row[]> {
  const on = device('cpu')
  const x = uniform(on, [256, 1024], { seed: 1 })
  const weight = uniform(on, [1024, 1024], { seed: 2 })
  const folder = mkdtempSync(join(tmpdir(), 'swift-bench-ledger-'))
  const steps = Math.max(20, Math.ceil((20 * 0.5) / (await timeSteps(x, weight, 20, undefined))))
  const differences: number[] = []
  watch.restart()
  try {
    for (let pair = 0; pair < pairs; pair++) {
      const metered = async (): Promise<number> => {
        await using ledger = await Ledger.open(join(folder, String(pair)), {
          samplePeriodMs: 100,
          idle: { seconds: 0 },
        })
        return await timeSteps(x, weight, steps, ledger)
      }
      const plain = (): Promise<number> => timeSteps(x, weight, steps, undefined)
      const first = pair % 2 === 0
      const [one, other] = first ? [await plain(), await metered()] : [await metered(), await plain()]
      differences.push(100 * (first ? other / one - 1 : one / other - 1))
      if ((pair + 1) % 10 === 0) say(`overhead: ${pair + 1} of ${pairs} pairs`)
    }
  } finally {
    x.release()
    weight.release()
    rmSync(folder, { recursive: true, force: true })
  }
  const { mean, low, high } = bootstrapMean(differences, { draws: 2000, seed: 11 })
  const interval = `95 % interval of the mean ${low.toFixed(3)} … ${high.toFixed(3)} % over ${pairs} pairs of ${steps} steps`
  return [
    makeRow({
      name: 'step time with the ledger on, mean',
      unit: '% more',
      ours: [mean],
      limit: 0.1,
      lowerIsBetter: true,
      othersShare: watch.othersShare(),
      note: `goal ≤ 0.1; ${interval}`,
    }),
  ]
}

/** The failure vectors on fake trees in real time, ours and, where they are installed, CodeCarbon's and Zeus' answers. */
async function vectorRows({ say, version }: SuiteContext): Promise<Row[]> {
  const python = ledgerPeersPython()
  if (python === undefined)
    say('CodeCarbon and Zeus are skipped: they are not installed; run `pnpm bench:peers ledger`')
  else {
    const words = ['-c', 'import importlib.metadata as m; print(m.version("codecarbon"), m.version("zeus"))']
    const [codecarbon = '', zeus = ''] = execFileSync(python, words, { encoding: 'utf8' }).trim().split(' ')
    version('codecarbon', codecarbon)
    version('zeus', zeus)
  }
  const rows: Row[] = []
  for await (const [own, ...peers] of runVectors(python)) {
    if (own?.truthJoules === undefined || own.joules === undefined) {
      throw new Error(`the ledger did not answer ${own?.vector}: ${own?.error}`)
    }
    const verdict = (answer: VectorAnswer): string =>
      `${answer.tool} ${answer.right ? 'right' : (answer.error ?? `wrong, truth ${answer.truthJoules?.toFixed(3)} J`)}`
    const note = [own, ...peers].map(verdict).join('; ')
    for (const peer of peers.length === 0 ? [undefined] : peers) {
      rows.push({
        ...makeRow({
          name: `${own.vector}, ${own.title}`,
          unit: 'J',
          ours: [own.joules],
          limit: own.truthJoules,
          ...(peer?.joules === undefined ? {} : { peer: [peer.joules], peerName: peer.tool }),
          note: `limit is the truth; ${note}`,
        }),
        // Neither more nor fewer joules are better: only the true ones.
        ratio: null,
      })
    }
    say(`${own.vector}: ${note}`)
  }
  return rows
}

const suite: Suite = {
  summary: 'the joule ledger: conservation, failure vectors, class sums, intervals, marks, merge, overhead',
  options: {
    pairs: { meaning: 'pairs of blocks of about half a second for the overhead of a step', default: '40' },
    part: { meaning: 'all, or one of figures, vectors (beside CodeCarbon and Zeus), overhead', default: 'all' },
    quick: { meaning: 'a hundredth of the random trees and shorter replays' },
  },
  run: async (context) => {
    const part = choiceOption(context.options, 'part', ['all', 'figures', 'vectors', 'overhead'])
    const isAsked = (name: typeof part): boolean => part === 'all' || part === name
    return [
      ...(isAsked('figures') ? nativeRows(context.options.has('quick')) : []),
      ...(isAsked('vectors') ? await vectorRows(context) : []),
      ...(isAsked('overhead') ? await overheadRows(numberOption(context.options, 'pairs'), context) : []),
    ]
  },
}

export default suite
