import type { Adapter, AttachedAdapter, Quantizer } from '@swift/spec'
import {
  clone,
  dequantize,
  linear,
  normal,
  Parameter,
  quantize4bit,
  scale,
  scope,
  uniform,
  zeros,
  type Tensor,
} from '@swift/tensor'
import { expect, it } from 'vitest'
import { adapterConformance } from './adapter-conformance.ts'
import { quantizerConformance } from './quantizer-conformance.ts'
import type { ConformanceRunner } from './runner.ts'

/** Runs a suite and returns the names of the tests that failed. */
async function failures(register: (runner: ConformanceRunner) => void): Promise<string[]> {
  const failed: string[] = []
  const tests: { name: string; body: () => void | Promise<void> }[] = []
  register({ describe: (_name, body) => body(), it: (name, body) => tests.push({ name, body }) })
  for (const { name, body } of tests) {
    try {
      await body()
    } catch {
      failed.push(name)
    }
  }
  return failed
}

interface Attached extends AttachedAdapter<Tensor> {
  readonly up: Parameter
  readonly down: Parameter
}

/** A correct low-rank adapter, written without the fused branch; each test breaks one part of it. */
const sound: Adapter<object, Tensor> = {
  id: 'sound',
  options: { none: { type: 'boolean', description: 'Unused.', default: false } },
  capabilities: { mergeable: true, quantizedBase: true, peftFormat: false },
  doAttach: (layer, _options, context): Attached => {
    const { device } = layer.weight.value as Tensor
    const down = new Parameter(
      'down',
      uniform(device, [2, layer.inFeatures], { seed: context.seed * 31 + context.index, low: -0.1, high: 0.1 }),
      true,
    )
    const up = new Parameter('up', zeros(device, [layer.outFeatures, 2]), true)
    return {
      up,
      down,
      parameters: [down, up],
      forward: (x) => context.base(x, { a: down.value, b: up.value, scale: 1 }),
      dispose: () => {
        up[Symbol.dispose]()
        down[Symbol.dispose]()
      },
    }
  },
  doMerge: (weight, attached) => shifted(weight, attached as Attached, 1),
  doUnmerge: (weight, attached) => shifted(weight, attached as Attached, -1),
  doSave: (attached) => ({
    config: {},
    tensors: new Map(
      [...attached].flatMap(([path, one]) =>
        one.parameters.map((parameter) => [`${path}.${parameter.name}`, parameter.value as Tensor] as const),
      ),
    ),
  }),
  doReadConfig: () => ({}),
  doLoad: (file, attached) => {
    for (const [path, one] of attached) {
      for (const parameter of one.parameters) {
        const tensor = file.tensors.get(`${path}.${parameter.name}`)
        if (tensor === undefined) throw Object.assign(new Error('missing'), { code: 'ERR_MISSING' })
        ;(parameter as Parameter).replace(clone(tensor))
      }
    }
  },
}

function shifted(weight: Tensor, { up, down }: Attached, sign: number): Tensor {
  return scope(() => {
    const transposed = down.value.device.run('transpose', { x: down.value })[0] as Tensor
    const result = clone(weight)
    weight.device.run('addScaled', { y: result, x: linear(up.value, transposed) }, { factor: sign })
    return result
  })
}

const adapterFailures = (adapter: Adapter<object, Tensor>): Promise<string[]> =>
  failures((runner) => adapterConformance(runner, { adapter, options: {} }))

/** `sound` with its attached adapter changed. */
function changed(
  change: (attached: Attached, context: { base(x: Tensor): Tensor }) => Partial<Attached>,
): Adapter<object, Tensor> {
  return {
    ...sound,
    doAttach: (layer, options, context) => {
      const attached = sound.doAttach(layer, options, context) as Attached
      return { ...attached, ...change(attached, context) }
    },
  }
}

it('passes a sound adapter', async () => {
  expect(await adapterFailures(sound)).toEqual([])
})

it.each<[string, Adapter<object, Tensor>, string]>([
  ['shouts its id', { ...sound, id: 'Sound!' }, 'describes itself as data'],
  [
    'does not start as the base',
    changed((_attached, { base }) => ({ forward: (x) => scale(base(x), 1.1) })),
    'starts as the base model',
  ],
  [
    'ignores the seed',
    { ...sound, doAttach: (layer, options, context) => sound.doAttach(layer, options, { ...context, seed: 1 }) },
    'draws the same parameters from the same seed and others from another',
  ],
  [
    'ignores its parameters',
    changed((_attached, { base }) => ({ forward: (x) => base(x) })),
    'gives every parameter a gradient and the frozen base none',
  ],
  ['never frees its parameters', changed(() => ({ dispose: () => undefined })), 'leaves no memory behind'],
  ['saves nothing', { ...sound, doLoad: () => undefined }, 'restores itself from its own file'],
  ['accepts partial files', { ...sound, doLoad: () => undefined }, 'rejects a file with missing tensors'],
  [
    'merges with the wrong sign',
    { ...sound, doMerge: (weight, attached) => shifted(weight, attached as Attached, -1) },
    'merges into the weight and back',
  ],
  ['unmerges nothing', { ...sound, doUnmerge: (weight) => clone(weight) }, 'merges into the weight and back'],
])('catches an adapter that %s', async (_fault, adapter, test) => {
  expect(await adapterFailures(adapter)).toContain(test)
})

const soundQuantizer: Quantizer<object, Tensor> = {
  id: 'sound',
  stage: 'load',
  formats: ['nf4'],
  options: {},
  capabilities: { trainable: true, imports: false, exports: false },
  accepts: () => true,
  doQuantize: (weight) => quantize4bit(weight),
  doDequantize: (weight) => dequantize(weight),
}

const quantizerFailures = (quantizer: Quantizer<object, Tensor>): Promise<string[]> =>
  failures((runner) => quantizerConformance(runner, { quantizer, options: {}, meanErrorBound: 0.085 }))

it('passes a sound quantizer', async () => {
  expect(await quantizerFailures(soundQuantizer)).toEqual([])
})

let calls = 0
const wrong = (change: (weight: Tensor) => Tensor): Quantizer<object, Tensor> => ({
  ...soundQuantizer,
  doDequantize: (weight) => scope(() => change(dequantize(weight))),
})

it.each<[string, Quantizer<object, Tensor>, string]>([
  [
    'declares another format',
    { ...soundQuantizer, formats: ['fp4'] },
    'produces a declared format of the same logical shape',
  ],
  [
    'transposes',
    {
      ...soundQuantizer,
      doQuantize: (weight) => scope(() => quantize4bit(weight.device.run('transpose', { x: weight })[0] as Tensor)),
    },
    'produces a declared format of the same logical shape',
  ],
  ['loses precision', wrong((weight) => scale(weight, 1.5)), 'keeps normal weights within its error bound'],
  ['is random', wrong((weight) => scale(weight, 1 + 0.001 * (calls++ % 7))), 'is deterministic'],
  ['shifts zero', wrong((weight) => scale(weight, 1, 0.01)), 'keeps zeros at zero'],
  ['multiplies otherwise', wrong((weight) => scale(weight, 1.01)), 'multiplies as its dequantized weight'],
  [
    'leaks',
    {
      ...soundQuantizer,
      doQuantize: (weight) => {
        normal(weight.device, [4], { seed: 1 }).detachFromScope()
        return quantize4bit(weight)
      },
    },
    'leaves no memory behind',
  ],
])('catches a quantizer that %s', async (_fault, quantizer, test) => {
  expect(await quantizerFailures(quantizer)).toContain(test)
})
