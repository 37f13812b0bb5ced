import { native } from '@swift/kernels'
import { describeCpu } from '@swift/tensor'
import { memoryLoopBytes } from '../harness/limits.ts'
import { makeRow, type Row } from '../harness/row.ts'
import { numberOption, type Suite, type SuiteContext } from '../harness/suite.ts'

interface Loop {
  readonly name: string
  readonly unit: string
  /** One measurement, on one thread or on all. */
  readonly measure: (allThreads: boolean) => number
}

/** What multiplies bfloat16, by instruction set. */
const bfloat16Instructions: ReadonlyMap<string, string> = new Map([
  ['avx512bf16', 'vdpbf16ps zmm'],
  ['amxbf16', 'tdpbf16ps tmm'],
])

function loops(): readonly Loop[] {
  const { rooflinePeak, rooflineInt8, rooflineBandwidth } = native()
  const { available } = describeCpu()
  const int8 = rooflineInt8(false)
  const floats = available
    .filter((isa) => !bfloat16Instructions.has(isa))
    .map((isa): Loop => ({
      name: `f32 multiply-add, ${isa}`,
      unit: 'GFLOP/s',
      measure: (all) => rooflinePeak(isa, false, all),
    }))
  const bfloat16 = available.flatMap((isa): Loop[] => {
    const instruction = bfloat16Instructions.get(isa)
    if (instruction === undefined) return []
    return [{ name: `bf16 dot, ${instruction}`, unit: 'GFLOP/s', measure: (all) => rooflinePeak(isa, true, all) }]
  })
  const bytes: readonly Loop[] =
    int8 === null
      ? []
      : [
          {
            name: `int8 dot, ${int8.instruction}`,
            unit: 'GOP/s',
            measure: (all) => rooflineInt8(all)?.gops ?? Number.NaN,
          },
        ]
  return [
    ...floats,
    ...bfloat16,
    ...bytes,
    { name: 'memory read', unit: 'GB/s', measure: (all) => rooflineBandwidth(false, all, memoryLoopBytes) / 1e9 },
    {
      name: 'memory copy (read + written)',
      unit: 'GB/s',
      measure: (all) => rooflineBandwidth(true, all, memoryLoopBytes) / 1e9,
    },
  ]
}

function measureLoop({ name, unit, measure }: Loop, rounds: number, { watch }: SuiteContext): Row[] {
  watch.restart()
  const one: number[] = []
  const all: number[] = []
  // The first round of each warms up and is not kept.
  for (let round = 0; round <= rounds; round++) {
    const [single, every] = [measure(false), measure(true)]
    if (round === 0) continue
    one.push(single)
    all.push(every)
  }
  const othersShare = watch.othersShare()
  const { threads } = describeCpu()
  return [
    makeRow({ name: `${name}, ${threads} threads`, unit, ours: all, othersShare }),
    makeRow({ name: `${name}, 1 thread`, unit, ours: one, othersShare }),
  ]
}

const suite: Suite = {
  summary: 'what the machine can do at most: multiply-adds from registers, bytes from memory',
  options: { rounds: { meaning: 'rounds of each loop', default: '5' } },
  run: async (context) => {
    const rounds = numberOption(context.options, 'rounds')
    return loops().flatMap((loop) => measureLoop(loop, rounds, context))
  },
}

export default suite
