import * as swift from '@swift/tensor'
import { describeCpu, type DeviceName, type Tensor } from '@swift/tensor'
import { checkGradients, type GradientCase } from '@swift/testing'
import { describe, expect, it } from 'vitest'

/** Every instruction set of this machine. */
const devices = describeCpu().available.map((isa): DeviceName => `cpu:${isa}`)

const at = (tensors: readonly Tensor[], index: number): Tensor => tensors[index] as Tensor
const ids = (on: swift.Device, values: number[]): Tensor => on.tensor(Int32Array.from(values))
const one = (shape: number[], low = -1, high = 1): GradientCase['inputs'][number] => ({ shape, low, high })
const unary = (compute: (x: Tensor) => Tensor, low = -1, high = 1): GradientCase => ({
  inputs: [one([5, 7], low, high)],
  compute: (_on, [x]) => compute(x as Tensor),
})

const cases: Readonly<Record<string, GradientCase>> = {
  linear: {
    inputs: [one([5, 7]), one([3, 7]), one([3])],
    compute: (_on, inputs) => swift.linear(at(inputs, 0), at(inputs, 1), { bias: at(inputs, 2) }),
  },
  'linear with a low-rank branch': {
    inputs: [one([5, 19]), one([17, 19]), one([3, 19]), one([17, 3])],
    compute: (_on, i) => swift.linear(at(i, 0), at(i, 1), { branch: { a: at(i, 2), b: at(i, 3), scale: 1.7 } }),
  },
  'linear with dropout in the branch': {
    inputs: [one([6, 9]), one([2, 9]), one([5, 2])],
    compute: (on, i) => {
      const weight = swift.normal(on, [5, 9], { seed: 4 })
      return swift.linear(at(i, 0), weight, {
        branch: { a: at(i, 1), b: at(i, 2), scale: 0.5, dropout: 0.3, seed: 11 },
      })
    },
  },
  'linear over a 4-bit weight': {
    inputs: [one([3, 33]), one([2, 33]), one([7, 2])],
    compute: (on, i) => {
      const weight = swift.quantize4bit(swift.normal(on, [7, 33], { seed: 4 }))
      return swift.linear(at(i, 0), weight, { branch: { a: at(i, 1), b: at(i, 2), scale: 2 } })
    },
  },
  'linear of one row': {
    inputs: [one([1, 13]), one([11, 13])],
    compute: (_on, i) => swift.linear(at(i, 0), at(i, 1)),
  },
  rmsNorm: {
    inputs: [one([4, 9], 0.2, 1), one([9])],
    compute: (_on, i) => swift.rmsNorm(at(i, 0), at(i, 1)).y,
  },
  'rmsNorm with a residual': {
    inputs: [one([3, 2, 5]), one([5]), one([3, 2, 5])],
    compute: (_on, i) => {
      const { y, sum } = swift.rmsNorm(at(i, 0), at(i, 1), { residual: at(i, 2), epsilon: 1e-5 })
      return [y, sum]
    },
  },
  layerNorm: {
    inputs: [one([4, 7]), one([7]), one([7])],
    compute: (_on, i) => swift.layerNorm(at(i, 0), at(i, 1), at(i, 2)),
  },
  rope: {
    inputs: [one([5, 3, 10])],
    compute: (on, i) =>
      swift.rope(at(i, 0), ids(on, [0, 1, 2, 0, 9]), on.tensor([1, 0.4, 0.1, 0.02]), { attentionScale: 1.2 }),
  },
  attention: {
    inputs: [one([7, 4, 5]), one([7, 2, 5]), one([7, 2, 5])],
    compute: (on, i) => swift.attention(at(i, 0), at(i, 1), at(i, 2), ids(on, [0, 3, 4, 7])),
  },
  'attention with a window and a soft cap': {
    inputs: [one([9, 2, 3]), one([9, 1, 3]), one([9, 1, 3])],
    compute: (on, i) =>
      swift.attention(at(i, 0), at(i, 1), at(i, 2), ids(on, [0, 9]), { window: 4, softcap: 2, scale: 0.9 }),
  },
  'attention without a mask': {
    inputs: [one([6, 2, 4]), one([6, 2, 4]), one([6, 2, 4])],
    compute: (on, i) => swift.attention(at(i, 0), at(i, 1), at(i, 2), ids(on, [0, 2, 6]), { causal: false }),
  },
  swiglu: { inputs: [one([3, 11], -3, 3), one([3, 11])], compute: (_on, i) => swift.swiglu(at(i, 0), at(i, 1)) },
  geglu: { inputs: [one([3, 11], -3, 3), one([3, 11])], compute: (_on, i) => swift.geglu(at(i, 0), at(i, 1)) },
  'geglu, exact': {
    inputs: [one([3, 5], -3, 3), one([3, 5])],
    compute: (_on, i) => swift.geglu(at(i, 0), at(i, 1), { tanh: false }),
  },
  silu: unary((x) => swift.silu(x), -4, 4),
  gelu: unary((x) => swift.gelu(x), -4, 4),
  'gelu, tanh form': unary((x) => swift.gelu(x, { tanh: true }), -4, 4),
  relu: unary((x) => swift.relu(x), 0.1, 2),
  embedding: {
    inputs: [one([6, 5])],
    compute: (on, i) => swift.embedding(ids(on, [3, 0, 3, 5]), at(i, 0), { scale: 1.5 }),
  },
  linearCrossEntropy: {
    inputs: [one([5, 6]), one([9, 6])],
    compute: (on, i) => swift.linearCrossEntropy(at(i, 0), at(i, 1), ids(on, [3, -100, 8, 0, 3])).lossSum,
  },
  'linearCrossEntropy with weights': {
    inputs: [one([4, 3]), one([7, 3])],
    compute: (on, i) => {
      const weights = on.tensor([0.5, 2, 1, 0])
      return swift.linearCrossEntropy(at(i, 0), at(i, 1), ids(on, [6, 1, -100, 2]), { weights, softcap: 3 }).lossSum
    },
  },
  logProbs: {
    inputs: [one([5, 6]), one([9, 6])],
    compute: (on, i) => swift.logProbs(at(i, 0), at(i, 1), ids(on, [3, -100, 8, 0, 3]), { temperature: 0.7 }),
  },
  add: { inputs: [one([4, 3]), one([4, 3])], compute: (_on, i) => swift.add(at(i, 0), at(i, 1)) },
  'add of a row': { inputs: [one([4, 3]), one([3])], compute: (_on, i) => swift.add(at(i, 0), at(i, 1)) },
  sub: { inputs: [one([4, 3]), one([1])], compute: (_on, i) => swift.sub(at(i, 0), at(i, 1)) },
  mul: { inputs: [one([4, 3]), one([3])], compute: (_on, i) => swift.mul(at(i, 0), at(i, 1)) },
  div: { inputs: [one([4, 3]), one([4, 3], 0.5, 2)], compute: (_on, i) => swift.div(at(i, 0), at(i, 1)) },
  maximum: { inputs: [one([4, 3]), one([4, 3])], compute: (_on, i) => swift.maximum(at(i, 0), at(i, 1)) },
  minimum: { inputs: [one([4, 3]), one([4, 3])], compute: (_on, i) => swift.minimum(at(i, 0), at(i, 1)) },
  neg: unary((x) => swift.neg(x)),
  exp: unary((x) => swift.exp(x)),
  log: unary((x) => swift.log(x), 0.5, 3),
  sqrt: unary((x) => swift.sqrt(x), 0.5, 3),
  abs: unary((x) => swift.abs(x), 0.1, 1),
  sigmoid: unary((x) => swift.sigmoid(x), -3, 3),
  tanh: unary((x) => swift.tanh(x), -2, 2),
  pow: unary((x) => swift.pow(x, 2.5), 0.5, 2),
  clamp: unary((x) => swift.clamp(x, -2, 2)),
  scale: unary((x) => swift.scale(x, -1.5, 0.25)),
  dropout: unary((x) => swift.dropout(x, 0.4, 77)),
  sum: unary((x) => swift.sum(x)),
  'sum of rows': unary((x) => swift.sum(x, 'last')),
  'sum of columns': unary((x) => swift.sum(x, 'first')),
  mean: unary((x) => swift.mean(x)),
  'mean of rows': unary((x) => swift.mean(x, 'last')),
  softmax: unary((x) => swift.softmax(x), -2, 2),
  logSoftmax: unary((x) => swift.logSoftmax(x), -2, 2),
  reshape: unary((x) => swift.reshape(x, [7, 5])),
  concatRows: {
    inputs: [one([2, 3]), one([1, 3])],
    compute: (_on, i) => swift.concatRows([at(i, 0), at(i, 1), at(i, 0)]),
  },
  gatherRows: { inputs: [one([4, 3])], compute: (on, i) => swift.gatherRows(at(i, 0), ids(on, [2, 2, 0])) },
}

describe(`gradients on ${devices.join(', ')}`, () => {
  it.each(Object.entries(cases))('%s', async (_name, definition) => {
    const before = [...devices, 'oracle' as const].map((name) => swift.device(name).statistics().liveBytes)
    const report = await checkGradients(definition, devices)
    expect(Object.keys(report.devices)).toEqual(devices)
    const after = [...devices, 'oracle' as const].map((name) => swift.device(name).statistics().liveBytes)
    expect(after).toEqual(before)
  })

  it('catches a wrong gradient', async () => {
    const wrong = swift.defineOp<readonly [Tensor], object>({
      name: 'wrong',
      forward: ([x]) => x.device.run('exp', { x })[0] as Tensor,
      backward: (_context, [dy]) => [dy],
    })
    const definition: GradientCase = { inputs: [one([3])], compute: (_on, [x]) => wrong([x as Tensor], {}) }
    await expect(checkGradients(definition, [])).rejects.toMatchObject({ code: 'ERR_GRADIENT' })
  })

  it('passes gradients through a cast unchanged', async () => {
    const on = swift.device('cpu')
    const x = swift.keep(on.tensor([1, 2.003, -3]))
    x.requiresGrad = true
    const tape = new swift.Tape()
    const y = tape.record(() => swift.sum(swift.scale(swift.cast(swift.cast(x, 'bfloat16'), 'float32'), 2)))
    tape.backward(y)
    expect(await swift.gradientOf(x)?.toArray()).toEqual([2, 2, 2])
    swift.clearGradient(x)
    y.release()
    x.release()
  })

  it('covers every differentiable function that the package exports', () => {
    const notDifferentiable = new Set([
      'cast',
      'argmax',
      'max',
      'sample',
      'quantize4bit',
      'dequantize',
      'transpose',
      'full',
      'zeros',
      'uniform',
      'normal',
      'linearTogether',
      'kvAppend',
      'kvEnter',
      'attentionDecode',
      'adamW',
      'adamW8bit',
      'sgd',
      'gradientNorm',
      'clipGradients',
      'allFinite',
      'quant4Parts',
      'quant4FromParts',
      'clone',
      'checkpoint',
      'clearGradient',
      'currentTape',
      'defineOp',
      'describeCpu',
      'device',
      'gradientOf',
      'keep',
      'opNames',
      'scope',
      'withCategory',
      'withoutTape',
    ])
    const functions = Object.entries(swift).filter(
      ([name, value]) => typeof value === 'function' && /^[a-z]/.test(name),
    )
    const covered = new Set(Object.keys(cases).map((name) => name.split(/[ ,]/)[0]))
    expect(
      functions.map(([name]) => name).filter((name) => !covered.has(name) && !notDifferentiable.has(name)),
    ).toEqual([])
  })
})
