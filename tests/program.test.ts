import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Generator, loadCausalLM, type CausalLM } from '@swift/models'
import { add, device, mul, Program, reshape, scope, type Tensor } from '@swift/tensor'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'

const on = device('cpu')

/** (x + w) · w as a column, twice. */
function twice(x: Tensor, w: Tensor): Tensor[] {
  const product = mul(add(x, w), w)
  return [reshape(product, [x.elements, 1]), reshape(product, [1, x.elements])]
}

describe('a program', () => {
  it('computes later runs with other inputs and leaves nothing but its outputs', async () => {
    const before = on.statistics().liveStorages
    using x = on.tensor([1, 2, 3])
    using w = on.tensor([2, 2, 4])
    const { program, outputs } = Program.record(on, [x], () => twice(x, w))
    expect(outputs.map(({ shape }) => shape)).toEqual([
      [3, 1],
      [1, 3],
    ])
    expect(await outputs[0]?.toArray()).toEqual([6, 8, 28])
    using other = on.tensor([0, -1, 0.5])
    for (let turn = 0; turn < 3; turn++) {
      const [column, row] = program.run([other]) as [Tensor, Tensor]
      expect([await column.toArray(), await row.toArray()]).toEqual([
        [4, 2, 18],
        [4, 2, 18],
      ])
      expect(column.shape).toEqual([3, 1])
      column.release()
      row.release()
    }
    for (const output of outputs) output.release()
    program[Symbol.dispose]()
    expect(on.statistics().liveStorages).toBe(before + 3)
  })

  it('gives its outputs to the scope that is open', () => {
    using x = on.tensor([1, 2, 3])
    const before = on.statistics().liveStorages
    const { program, outputs } = Program.record(on, [x], () => twice(x, x))
    for (const output of outputs) output.release()
    scope(() => {
      program.run([x])
      expect(on.statistics().liveStorages).toBe(before + 1)
    })
    expect(on.statistics().liveStorages).toBe(before)
    program[Symbol.dispose]()
    expect(() => program.run([x])).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' }))
  })

  it('refuses what it cannot repeat and can be recorded again after that', () => {
    using x = on.tensor([1, 2, 3])
    const record = (body: () => Tensor[]) => () => Program.record(on, [x], body)
    expect(record(() => [add(x, on.tensor([1, 1, 1]))])).toThrow(expect.objectContaining({ code: 'ERR_PROGRAM_CALL' }))
    expect(record(() => [x])).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' }))
    expect(record(() => [...Program.record(on, [x], () => twice(x, x)).outputs])).toThrow(
      expect.objectContaining({ code: 'ERR_PROGRAM_NESTED' }),
    )
    expect(
      record(() => {
        throw new RangeError('in the middle')
      }),
    ).toThrow('in the middle')
    const { program, outputs } = Program.record(on, [x], () => twice(x, x))
    using longer = on.tensor([1, 2, 3, 4])
    expect(() => program.run([longer])).toThrow(expect.objectContaining({ code: 'ERR_SHAPE_MISMATCH' }))
    expect(() => program.run([])).toThrow(expect.objectContaining({ code: 'ERR_INVALID_ARGUMENT' }))
    for (const output of outputs) output.release()
    program[Symbol.dispose]()
  })
})

describe('decoding with programs', () => {
  const goldens = fileURLToPath(new URL('./goldens/', import.meta.url))
  const golden = JSON.parse(readFileSync(`${goldens}logits/qwen3.json`, 'utf8')) as {
    sequences: { inputIds: number[]; greedy: number[] }[]
  }
  const prompts = golden.sequences.map(({ inputIds }) => inputIds)
  const expected = golden.sequences.map(({ greedy }) => greedy)
  let model: CausalLM

  beforeEach(async () => {
    on.computeDType = 'float32'
    model = await loadCausalLM(`${goldens}models/qwen3`, { device: on })
  })

  afterEach(() => {
    model[Symbol.dispose]()
    vi.restoreAllMocks()
  })

  it('records once and once more when a sequence ends', async () => {
    const record = vi.spyOn(Program, 'record')
    // The first prompt ends with its fifth token, the others go on.
    const stop = (expected[0] as number[])[5] as number
    const answers = await Generator.generateAll(model, prompts, { maxNewTokens: 12, stopTokenIds: [stop] })
    expect(answers).toEqual(
      expected.map((greedy) => {
        const end = greedy.slice(0, 12).indexOf(stop)
        return greedy.slice(0, end < 0 ? 12 : end)
      }),
    )
    const lengths = new Set(answers.map(({ length }) => length))
    expect(record).toHaveBeenCalledTimes(lengths.size)
  })

  it('sees an adapter that comes and goes between two tokens', async () => {
    const linear = model.linears()[0]
    const tokens: number[] = []
    let calls = 0
    for await (const { tokenId } of Generator.generate(model, [prompts[0] as number[]], { maxNewTokens: 9 })) {
      tokens.push(tokenId)
      if (linear === undefined) continue
      linear.adapter =
        tokens.length >= 3 && tokens.length < 6
          ? ({
              forward: (x: Tensor) => {
                calls += 1
                return linear.base(x)
              },
            } as NonNullable<typeof linear.adapter>)
          : undefined
    }
    expect(tokens).toEqual((expected[0] as number[]).slice(0, 9))
    // A new adapter object after each of three tokens: each is recorded once.
    expect(calls).toBe(3)
  })

  it('goes on without a program, and says so, where an adapter uploads', async () => {
    const warnings: string[] = []
    vi.spyOn(process, 'emitWarning').mockImplementation((warning) => {
      warnings.push(String(warning))
    })
    for (const linear of model.linears().slice(0, 1)) {
      linear.adapter = {
        forward: (x: Tensor) => mul(linear.base(x), on.tensor([1])),
      } as NonNullable<typeof linear.adapter>
    }
    const answers = await Generator.generateAll(model, [prompts[0] as number[]], { maxNewTokens: 9 })
    expect(answers).toEqual([(expected[0] as number[]).slice(0, 9)])
    expect(warnings).toEqual([expect.stringContaining('host data was uploaded')])
  })
})
