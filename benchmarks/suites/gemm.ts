import { setTimeout } from 'node:timers/promises'
import { cast, device, linear, normal, quantize4bit, scope, type Device, type Tensor } from '@swift/tensor'
import { productLimit } from '../harness/limits.ts'
import { numberOf, type Answer, type LineChild } from '../harness/line-child.ts'
import { peersMissing, startPeer } from '../harness/peer.ts'
import { makeRow, type Row } from '../harness/row.ts'
import { numberOption, numbersOption, type Suite, type SuiteContext } from '../harness/suite.ts'

type Format = 'f32' | 'bf16' | 'nf4'
type Direction = 'forward' | 'backward'

interface Case {
  readonly format: Format
  readonly direction: Direction
  readonly m: number
  readonly n: number
  readonly k: number
  readonly label: string
}

/** [N, K] of the weights of the 0.6B model, and a cube. */
const weights: readonly (readonly [n: number, k: number, label: string])[] = [
  [2048, 1024, '1024→2048'],
  [3072, 1024, '1024→3072'],
  [1024, 3072, '3072→1024'],
  [8192, 1024, '1024→8192 (slice of the head)'],
]

function casesOf(formats: readonly string[], rows: readonly number[]): readonly Case[] {
  const all: readonly Format[] = ['f32', 'bf16', 'nf4']
  const directions: readonly Direction[] = ['forward', 'backward']
  return all
    .filter((format) => formats.includes(format))
    .flatMap((format) =>
      directions.flatMap((direction) => [
        ...rows.flatMap((m) => weights.map(([n, k, label]): Case => ({ format, direction, m, n, k, label }))),
        ...(rows.includes(2048) ? [{ format, direction, m: 2048, n: 2048, k: 2048, label: '2048→2048' }] : []),
      ]),
    )
}

/** Precision of the inputs of our product: bfloat16 where the machine multiplies it, but never for float32 weights. */
function computeOf(on: Device, format: Format): 'float32' | 'bfloat16' {
  return format === 'f32' || on.computeDType === 'float32' ? 'float32' : 'bfloat16'
}

function weightOf(on: Device, { format, n, k }: Case): Tensor {
  return scope(() => {
    const dense = normal(on, [n, k], { seed: 7, std: 0.02 })
    if (format === 'f32') return dense
    return format === 'bf16' ? cast(dense, 'bfloat16') : quantize4bit(dense)
  })
}

/** GFLOP/s of products repeated for about `seconds`; whoever calls first warms up and sets the repeats. */
class Ours implements Disposable {
  readonly #device: Device
  readonly #case: Case
  readonly #x: Tensor
  readonly #weight: Tensor
  readonly #bfloat16: boolean
  #repeats = 1

  constructor(on: Device, work: Case) {
    this.#device = on
    this.#case = work
    this.#bfloat16 = computeOf(on, work.format) === 'bfloat16'
    this.#weight = weightOf(on, work)
    this.#x = normal(on, [work.m, work.direction === 'forward' ? work.k : work.n], { seed: 3 })
  }

  #once(): void {
    const before = this.#device.computeDType
    this.#device.computeDType = this.#bfloat16 ? 'bfloat16' : 'float32'
    scope(() => {
      if (this.#case.direction === 'forward') linear(this.#x, this.#weight)
      else this.#device.run('linearInputGradient', { dy: this.#x, weight: this.#weight }, { bfloat16: this.#bfloat16 })
    })
    this.#device.computeDType = before
  }

  async #time(repeats: number): Promise<number> {
    const start = performance.now()
    for (let repeat = 0; repeat < repeats; repeat++) this.#once()
    await this.#device.flush()
    return (performance.now() - start) / 1000
  }

  async warmUp(seconds: number): Promise<void> {
    await this.#device.flush()
    await this.#time(1)
    const single = await this.#time(2)
    this.#repeats = Math.max(1, Math.round((2 * seconds) / single))
    await this.#time(this.#repeats)
  }

  async measure(): Promise<number> {
    const { m, n, k } = this.#case
    return (2e-9 * m * n * k * this.#repeats) / (await this.#time(this.#repeats))
  }

  [Symbol.dispose](): void {
    this.#x.release()
    this.#weight.release()
  }
}

function ratePerSecond({ m, n, k }: Pick<Case, 'm' | 'n' | 'k'>, answer: Answer): number {
  return (2e-9 * m * n * k * numberOf(answer, 'repeats')) / numberOf(answer, 'seconds')
}

/**
 * What torch can be asked in: without the processor's own instruction its bfloat16 is some thirty times slower than its
 * float32 and would take most of an hour to lose every case.
 */
async function torchDtypes(torch: LineChild | undefined, context: SuiteContext): Promise<readonly string[]> {
  if (torch === undefined) return []
  const small = { m: 64, n: 512, k: 512 }
  const rate = async (dtype: string): Promise<number> =>
    ratePerSecond(small, await torch.ask({ ...small, dtype, direction: 'forward', seconds: 0.05 }))
  const [float, half] = [await rate('float32'), await rate('bfloat16')]
  if (half > float / 4) return ['float32', 'bfloat16']
  context.say(
    `torch bfloat16 is left out: ${half.toFixed(1)} GFLOP/s beside ${float.toFixed(1)} in float32 for 64 × 512 × 512`,
  )
  return ['float32']
}

/** Threads of OpenMP spin for some milliseconds after a product, ours for a tenth of one; neither is to hold up the other. */
async function quiet(): Promise<void> {
  await setTimeout(30)
}

async function measureCase(
  work: Case,
  context: SuiteContext,
  torch: LineChild | undefined,
  dtypes: readonly string[],
): Promise<Row> {
  const { m, n, k, format, direction, label } = work
  const rounds = numberOption(context.options, 'rounds')
  const seconds = numberOption(context.options, 'milliseconds') / 1000
  const on = device('cpu')
  const compute = computeOf(on, format)
  using ours = new Ours(on, work)
  const question = { dtype: format === 'f32' ? 'float32' : 'bfloat16', m, n, k, direction, seconds }
  const peerDtypes = format === 'f32' ? ['float32'] : dtypes
  const mine: number[] = []
  const theirs = new Map(peerDtypes.map((dtype) => [dtype, [] as number[]]))
  await ours.warmUp(seconds)
  for (const dtype of peerDtypes) await torch?.ask({ ...question, dtype })
  context.watch.restart()
  for (let round = 0; round < rounds; round++) {
    await quiet()
    mine.push(await ours.measure())
    if (torch === undefined) continue
    for (const dtype of peerDtypes) {
      await quiet()
      theirs.get(dtype)?.push(ratePerSecond(work, await torch.ask({ ...question, dtype })))
    }
  }
  // Beside bfloat16 and 4-bit weights stands the faster of torch's two.
  const [best] = [...theirs].toSorted(([, left], [, right]) => Math.max(...right) - Math.max(...left))
  return makeRow({
    name: `${format} ${direction} M=${m} ${label}`,
    unit: 'GFLOP/s',
    ours: mine,
    statistic: 'best',
    peer: torch === undefined ? undefined : best?.[1],
    peerName: `torch ${best?.[0] ?? ''}`,
    limit: productLimit(context.limits(), compute) / 1e9,
    othersShare: context.watch.othersShare(),
  })
}

const suite: Suite = {
  summary:
    'products of x with f32, bf16 and NF4 weights, forward (x·Wᵀ) and backward (dY·W), beside torch and the peak',
  options: {
    rounds: { meaning: 'interleaved rounds, of which the best counts on both sides', default: '9' },
    milliseconds: { meaning: 'length of one round', default: '40' },
    m: { meaning: 'rows of x, separated by commas', default: '1,8,64,256,512,2048' },
    formats: { meaning: 'weights: f32, bf16, nf4', default: 'f32,bf16,nf4' },
  },
  run: async (context) => {
    const missing = peersMissing()
    if (missing !== undefined) context.say(`torch is skipped: ${missing}`)
    const torch = missing === undefined ? startPeer('linear.py', [], context.watch) : undefined
    const versions = (await torch?.next())?.['versions'] as Record<string, string> | undefined
    for (const [name, version] of Object.entries(versions ?? {})) context.version(name, version)
    const dtypes = await torchDtypes(torch, context)
    const formats = String(context.options.get('formats')).split(',')
    const rows: Row[] = []
    try {
      for (const work of casesOf(formats, numbersOption(context.options, 'm'))) {
        const row = await measureCase(work, context, torch, dtypes)
        const peer = row.ratio === null ? '' : `, ${row.ratio.toFixed(2)}× ${row.peerName}`
        context.say(
          `${row.name}: ${row.ours?.toFixed(1)} GFLOP/s, ${(100 * (row.fractionOfLimit ?? 0)).toFixed(0)} % of peak${peer}`,
        )
        rows.push(row)
      }
    } finally {
      await torch?.close()
    }
    return rows
  },
}

export default suite
