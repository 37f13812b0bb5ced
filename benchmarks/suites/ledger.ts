import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Ledger } from '@swift/energy'
import { repository } from '../harness/machine.ts'
import { ledgerPeersPython, runVectors, type VectorAnswer } from '../peers/ledger/run-vectors.ts'
import { makeRow, type Row } from '../harness/row.ts'
import { choiceOption, type Suite, type SuiteContext } from '../harness/suite.ts'

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
  /** Null where the machine gave too few undisturbed blocks; the detail says so. */
  readonly value: number | null
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
function nativeRows(quick: boolean, parts: readonly string[]): Row[] {
  const words = ['run', '--release', '--quiet', '-p', 'swift-meter', '--example', 'ledger_bench', '--', '--json']
  const printed = execFileSync('cargo', [...words, ...(quick ? ['--quick'] : []), ...parts], {
    cwd: join(repository, 'native/kernels'),
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const { results } = JSON.parse(printed) as { readonly results: readonly NativeFigure[] }
  return results.map((figure) =>
    makeRow({
      name: figure.name,
      unit: figure.unit,
      ours: figure.value === null ? [] : [figure.value],
      // A limit of 0 has no share of it; the note names it.
      ...(figure.limit === undefined || figure.limit === 0 || figure.value === 0 ? {} : { limit: figure.limit }),
      lowerIsBetter: figure.atLeast !== true,
      note: noteOf(figure),
    }),
  )
}

/** What a phase costs the caller in JavaScript, begin and end together: there is nothing else on the path of a step. */
async function phaseRow(count: number, { watch }: SuiteContext): Promise<Row> {
  const folder = mkdtempSync(join(tmpdir(), 'swift-bench-ledger-'))
  const rounds: number[] = []
  watch.restart()
  try {
    await using ledger = await Ledger.open(folder, { idle: { seconds: 0 } })
    for (let round = 0; round < 9; round++) {
      const start = performance.now()
      for (let phase = 0; phase < count; phase++) ledger.phase('train/epoch:0/forward').end()
      rounds.push((1e6 * (performance.now() - start)) / count)
      // The sampler empties the ring meanwhile, as it would between the steps of a run.
      await sleep(250)
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
  const middle = rounds.toSorted((left, right) => left - right)[Math.floor(rounds.length / 2)] ?? 0
  const share = ((100 * 3 * middle) / 10e6).toFixed(4)
  return makeRow({
    name: 'phase from JavaScript, begin and end',
    unit: 'ns',
    ours: rounds,
    lowerIsBetter: true,
    othersShare: watch.othersShare(),
    note: `median of ${rounds.length} rounds of ${count} phases; three of them are ${share} % of a step of 10 ms`,
  })
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
    part: { meaning: 'all, or one of figures, vectors (beside CodeCarbon and Zeus), overhead', default: 'all' },
    quick: { meaning: 'a hundredth of the random trees, shorter replays, ten seconds of windows for the overhead' },
  },
  run: async (context) => {
    const part = choiceOption(context.options, 'part', ['all', 'figures', 'vectors', 'overhead'])
    const isAsked = (name: typeof part): boolean => part === 'all' || part === name
    const quick = context.options.has('quick')
    return [
      ...(isAsked('figures')
        ? nativeRows(quick, ['conservation', 'vectors', 'classes', 'marks', 'bytes', 'load', 'merge'])
        : []),
      ...(isAsked('vectors') ? await vectorRows(context) : []),
      ...(isAsked('overhead') ? nativeRows(quick, ['overhead']) : []),
      ...(isAsked('overhead') ? [await phaseRow(quick ? 200 : 2000, context)] : []),
    ]
  },
}

export default suite
