import type { Adapter, AttachedAdapter } from '@swift/spec'
import {
  cast,
  clearGradient,
  device,
  dequantize,
  gradientOf,
  linear,
  normal,
  quantize4bit,
  scope,
  sum,
  mul,
  Tape,
  type Tensor,
} from '@swift/tensor'
import { fakeLinear, type FakeLinear } from './fake-linear.ts'
import { largestDifference, must, register, type ConformanceRunner, type ConformanceSkip } from './runner.ts'

/** What the suite runs on. */
export interface AdapterConformanceOptions<Options> {
  /** The adapter under test. */
  readonly adapter: Adapter<Options, Tensor>
  /** Valid options, complete. */
  readonly options: Options
  /** Tests that do not apply, with the reason that is printed. */
  readonly skip?: readonly ConformanceSkip[]
}

const rows = 5
const shape: readonly [number, number] = [24, 64]

/** float32 sums of 64 terms of magnitude ≤ 3: 64 · 2⁻²⁴ · 9 ≈ 3e-5. */
const tolerance = 1e-4

function perturb(attached: AttachedAdapter<Tensor>): void {
  attached.parameters.forEach(({ value }, index) => {
    scope(() => {
      const tensor = value as Tensor
      const noise = normal(tensor.device, tensor.shape, { seed: 1000 + index, std: 0.2 })
      tensor.device.run('addScaled', { y: tensor, x: noise }, { factor: 1 })
    })
  })
}

async function output(attached: AttachedAdapter<Tensor>, seed = 3): Promise<number[]> {
  const on = device('cpu')
  const y = scope(() => attached.forward(normal(on, [rows, shape[1]], { seed })))
  const values = await y.toArray()
  y.release()
  return values
}

async function baseOutput(weight: Tensor, seed = 3): Promise<number[]> {
  const on = device('cpu')
  const y = scope(() => linear(normal(on, [rows, shape[1]], { seed }), weight))
  const values = await y.toArray()
  y.release()
  return values
}

/**
 * Registers the conformance suite of the adapter port. Claimed capabilities turn their tests on.
 *
 * @example adapterConformance({ describe, it }, { adapter: lora, options })
 */
export function adapterConformance<Options>(
  runner: ConformanceRunner,
  { adapter, options, skip = [] }: AdapterConformanceOptions<Options>,
): void {
  const tests = new Map<string, () => Promise<void>>()
  const on = device('cpu')

  const withLayer = async (
    body: (fake: FakeLinear, attached: AttachedAdapter<Tensor>) => Promise<void>,
    attachOptions: { readonly seed?: number; readonly index?: number } = {},
  ): Promise<void> => {
    const computeDType = on.computeDType
    on.computeDType = 'float32'
    const fake = fakeLinear(on, shape, attachOptions)
    const attached = adapter.doAttach(fake.layer, options, fake.context)
    try {
      await body(fake, attached)
    } finally {
      attached.dispose()
      fake.dispose()
      on.computeDType = computeDType
    }
  }

  tests.set('describes itself as data', async () => {
    must(/^[a-z][a-z0-9-]*$/.test(adapter.id), `id ${JSON.stringify(adapter.id)} is not lower-case kebab`)
    must(JSON.stringify(adapter.options) !== '{}', 'the option table is empty')
    for (const [name, definition] of Object.entries(adapter.options)) {
      must(definition.description.length > 0, `option ${name} has no description`)
    }
    must(
      JSON.stringify(JSON.parse(JSON.stringify(adapter.options))) === JSON.stringify(adapter.options),
      'options are not plain data',
    )
  })

  tests.set('starts as the base model', () =>
    withLayer(async (fake, attached) => {
      fake.setTraining(false)
      const distance = largestDifference(await output(attached), await baseOutput(fake.weight.value))
      must(distance <= tolerance, `the fresh adapter changes the output by ${distance}`)
    }),
  )

  tests.set('draws the same parameters from the same seed and others from another', async () => {
    const draw = async (seed: number, index: number): Promise<number[]> => {
      let values: number[] = []
      const read = async (_fake: FakeLinear, attached: AttachedAdapter<Tensor>): Promise<void> => {
        const lists = await Promise.all(attached.parameters.map(({ value }) => (value as Tensor).toArray()))
        values = lists.flat()
      }
      await withLayer(read, { seed, index })
      return values
    }
    const first = await draw(7, 0)
    must(largestDifference(first, await draw(7, 0)) === 0, 'the same seed and layer gave other parameters')
    must(largestDifference(first, await draw(8, 0)) > 0, 'another seed gave the same parameters')
    must(largestDifference(first, await draw(7, 1)) > 0, 'another layer gave the same parameters')
  })

  tests.set('gives every parameter a gradient and the frozen base none', () =>
    withLayer(async (fake, attached) => {
      perturb(attached)
      const tape = new Tape()
      const loss = tape.record(() => {
        const y = attached.forward(normal(on, [rows, shape[1]], { seed: 5 }))
        return sum(mul(y, y))
      })
      tape.backward(loss)
      loss.release()
      must(gradientOf(fake.weight.value) === undefined, 'the frozen base weight received a gradient')
      for (const { name, value } of attached.parameters) {
        const gradient = await gradientOf(value as Tensor)?.toArray()
        clearGradient(value as Tensor)
        must(gradient?.some((entry) => entry !== 0) === true, `${name} received no gradient`)
        must(gradient.every(Number.isFinite), `${name} received a gradient that is not finite`)
      }
    }),
  )

  tests.set('takes an input stored in bfloat16', () =>
    withLayer(async (fake, attached) => {
      fake.setTraining(false)
      perturb(attached)
      // The same values in either dtype, so that only reading them may differ.
      const of = async (dtype: 'float32' | 'bfloat16'): Promise<number[][]> => {
        const tape = new Tape()
        const [y, loss] = tape.record(() => {
          const x = cast(cast(normal(on, [rows, shape[1]], { seed: 9 }), 'bfloat16'), dtype)
          const made = attached.forward(x)
          return [made.detachFromScope(), sum(mul(made, made))] as const
        })
        tape.backward(loss)
        loss.release()
        const found = [await y.toArray()]
        y.release()
        for (const { value } of attached.parameters) {
          found.push((await gradientOf(value as Tensor)?.toArray()) ?? [])
          clearGradient(value as Tensor)
        }
        return found
      }
      const [expected, found] = [await of('float32'), await of('bfloat16')]
      expected.forEach((values, index) => {
        const what = index === 0 ? 'the output' : `the gradient of ${attached.parameters[index - 1]?.name ?? ''}`
        const scale = Math.max(1, ...values.map(Math.abs))
        const distance = largestDifference(found[index] ?? [], values) / scale
        must(distance <= tolerance, `${what} differs by ${distance} when the input is stored in bfloat16`)
      })
    }),
  )

  tests.set('has gradients that agree with finite differences', () =>
    withLayer(async (fake, attached) => {
      fake.setTraining(false)
      perturb(attached)
      await checkDirection(attached)
    }),
  )

  tests.set('restores itself from its own file', async () => {
    await withLayer(async (fake, attached) => {
      fake.setTraining(false)
      perturb(attached)
      const expected = await output(attached)
      const file = adapter.doSave(new Map([[fake.layer.path, attached]]), options, {
        baseModel: 'base',
        taskType: 'CAUSAL_LM',
      })
      const read = adapter.doReadConfig(JSON.parse(JSON.stringify(file.config)) as Record<string, unknown>)
      const other = fakeLinear(on, shape, { seed: 1234 })
      other.setTraining(false)
      const restored = adapter.doAttach(other.layer, read, other.context)
      adapter.doLoad(file, new Map([[other.layer.path, restored]]), read)
      const distance = largestDifference(await output(restored), expected)
      restored.dispose()
      other.dispose()
      must(distance === 0, `the restored adapter differs by ${distance}`)
    })
  })

  tests.set('rejects a file with missing tensors', () =>
    withLayer(async (fake, attached) => {
      const file = adapter.doSave(new Map([[fake.layer.path, attached]]), options, {
        baseModel: 'base',
        taskType: 'CAUSAL_LM',
      })
      const partial = new Map([...file.tensors].slice(1))
      let code = ''
      try {
        adapter.doLoad({ ...file, tensors: partial }, new Map([[fake.layer.path, attached]]), options)
      } catch (error) {
        code = (error as { code?: string }).code ?? 'an error without a code'
      }
      must(code.startsWith('ERR_'), `a file without its first tensor gave ${code === '' ? 'no error' : code}`)
    }),
  )

  tests.set('leaves no memory behind', async () => {
    const before = on.statistics().liveBytes
    await withLayer(async (_fake, attached) => {
      await output(attached)
    })
    const left = on.statistics().liveBytes - before
    must(left === 0, `${left} bytes are still live after dispose`)
  })

  if (adapter.capabilities.mergeable) {
    tests.set('merges into the weight and back', () =>
      withLayer(async (fake, attached) => {
        must(adapter.doMerge !== undefined, 'mergeable is claimed without doMerge')
        fake.setTraining(false)
        perturb(attached)
        const merged = adapter.doMerge(fake.weight.value, attached, options)
        const distance = largestDifference(await baseOutput(merged), await output(attached))
        must(distance <= tolerance, `the merged weight differs from the adapter by ${distance}`)
        if (adapter.doUnmerge !== undefined) {
          const back = adapter.doUnmerge(merged, attached, options)
          const rest = largestDifference(await back.toArray(), await fake.weight.value.toArray())
          back.release()
          must(rest <= 1e-5, `unmerge leaves a difference of ${rest}`)
        }
        merged.release()
      }),
    )
  }

  if (adapter.capabilities.quantizedBase) {
    tests.set('trains over a 4-bit base', () =>
      withLayer(async (fake, attached) => {
        fake.setTraining(false)
        perturb(attached)
        const delta = differenceOf(await output(attached), await baseOutput(fake.weight.value))
        const quantized = quantize4bit(fake.weight.value)
        const dense = dequantize(quantized)
        dense.release()
        fake.weight.replace(quantized)
        const quantizedDelta = differenceOf(await output(attached), await baseOutput(fake.weight.value))
        const distance = largestDifference(delta, quantizedDelta)
        must(distance <= 1e-3, `over a 4-bit base the adapter’s share of the output changes by ${distance}`)
      }),
    )
  }

  register(runner, `adapter ${adapter.id}: conformance`, tests, skip)
}

function differenceOf(left: readonly number[], right: readonly number[]): number[] {
  return left.map((value, index) => value - (right[index] as number))
}

/** Directional derivative along every parameter's own gradient against a central difference of the loss. */
async function checkDirection(attached: AttachedAdapter<Tensor>): Promise<void> {
  const on = device('cpu')
  const loss = (): Tensor => {
    const y = attached.forward(normal(on, [rows, shape[1]], { seed: 5 }))
    return sum(mul(y, y))
  }
  const tape = new Tape()
  const recorded = tape.record(loss)
  tape.backward(recorded)
  recorded.release()
  for (const { name, value } of attached.parameters) {
    const tensor = value as Tensor
    const gradient = gradientOf(tensor) as Tensor
    const squared = (await gradient.toArray()).reduce((total, entry) => total + entry * entry, 0)
    // Move the loss by about 1 % each way, far above float32 rounding of its value.
    const centre = scope(loss)
    const step = (0.01 * Math.abs(await centre.item())) / squared
    centre.release()
    const moved = async (factor: number): Promise<number> => {
      on.run('addScaled', { y: tensor, x: gradient }, { factor })
      const result = scope(loss)
      const number = await result.item()
      result.release()
      on.run('addScaled', { y: tensor, x: gradient }, { factor: -factor })
      return number
    }
    const slope = ((await moved(step)) - (await moved(-step))) / (2 * step)
    clearGradient(tensor)
    must(
      Math.abs(slope - squared) <= 0.02 * squared,
      `the gradient of ${name} predicts a slope of ${squared}, measured ${slope}`,
    )
  }
}
