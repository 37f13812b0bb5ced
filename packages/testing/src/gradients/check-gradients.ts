import { SwiftError } from '@swift/spec'
import {
  clearGradient,
  device,
  gradientOf,
  keep,
  scope,
  Tape,
  uniform,
  withoutTape,
  type Device,
  type DeviceName,
  type Tensor,
} from '@swift/tensor'

/** One differentiable input. */
export interface GradientInput {
  /** Extents. */
  readonly shape: readonly number[]
  /** Range of the uniform values; default −1 … 1. */
  readonly low?: number
  readonly high?: number
}

/** What to check. */
export interface GradientCase {
  /** Inputs whose gradients are checked. */
  readonly inputs: readonly GradientInput[]
  /** The function; its outputs are reduced to one number with fixed random weights. Must be deterministic. */
  readonly compute: (device: Device, inputs: readonly Tensor[]) => Tensor | readonly Tensor[]
  /** Seed of inputs and weights. Default 1. */
  readonly seed?: number
  /** Step of the central differences in float64. Default 1e-4. */
  readonly step?: number
  /**
   * Largest relative difference of analytic and numeric gradient on the oracle. Default 1e-6: central differences err
   * by step² · |f‴|/6 ≈ 1e-9 and rounding by 1e-16/step ≈ 1e-12, with room for large third derivatives.
   */
  readonly oracleTolerance?: number
  /** Largest relative difference of a device's gradient to the oracle's. Default 2e-4: float32 rounding over a few hundred terms. */
  readonly deviceTolerance?: number
}

/** Largest differences found, per input. */
export interface GradientReport {
  /** Analytic against numeric, on the oracle. */
  readonly oracle: readonly number[]
  /** Each device against the oracle. */
  readonly devices: Readonly<Record<string, readonly number[]>>
}

function makeInputs(on: Device, definition: GradientCase): Tensor[] {
  return definition.inputs.map(({ shape, low = -1, high = 1 }, index) => {
    const tensor = keep(uniform(on, shape, { seed: (definition.seed ?? 1) * 1000 + index, low, high }))
    tensor.requiresGrad = true
    return tensor
  })
}

/** Σ over outputs of ⟨output, fixed random weights⟩, [1]. */
function project(on: Device, made: Tensor | readonly Tensor[], seed: number): Tensor[] {
  const outputs = Array.isArray(made) ? (made as readonly Tensor[]) : [made as Tensor]
  return outputs.map((output, index) => {
    const weights = uniform(on, output.shape, { seed: seed * 7919 + index, low: 0.5, high: 1.5 })
    return on.run('sum', { x: on.run('mul', { a: output, b: weights })[0] as Tensor })[0] as Tensor
  })
}

async function analytic(on: Device, definition: GradientCase): Promise<number[][]> {
  const inputs = makeInputs(on, definition)
  const tape = new Tape()
  const seed = definition.seed ?? 1
  const outputs = tape.record(() => {
    const made = definition.compute(on, inputs)
    return Array.isArray(made) ? (made as readonly Tensor[]).slice() : [made as Tensor]
  })
  const seeds = outputs.map((output, index) =>
    keep(uniform(on, output.shape, { seed: seed * 7919 + index, low: 0.5, high: 1.5 })),
  )
  tape.backward(outputs, seeds)
  const gradients = await Promise.all(
    inputs.map(
      async (input) => (await gradientOf(input)?.toArray()) ?? Array.from({ length: input.elements }, () => 0),
    ),
  )
  for (const tensor of [...inputs, ...outputs, ...seeds]) {
    clearGradient(tensor)
    tensor.release()
  }
  return gradients
}

async function numeric(on: Device, definition: GradientCase): Promise<number[][]> {
  const step = definition.step ?? 1e-4
  const inputs = makeInputs(on, definition)
  const sizes = inputs.map((input) => input.elements)
  const at = async (index: number, element: number, delta: number): Promise<number> => {
    const unit = new Float32Array(sizes[index] as number)
    unit[element] = 1
    const sums = scope(() => {
      // Shifted on the device in float64: uploaded values would be rounded to float32.
      const moved = on.run('scale', { x: inputs[index] as Tensor }, { factor: 1 })[0] as Tensor
      on.run('addScaled', { y: moved, x: on.tensor(unit, definition.inputs[index]?.shape) }, { factor: delta })
      const shifted = inputs.map((input, other) => (other === index ? moved : input))
      return withoutTape(() => project(on, definition.compute(on, shifted), definition.seed ?? 1))
    })
    const numbers = await Promise.all(sums.map((sum) => sum.item()))
    for (const sum of sums) sum.release()
    return numbers.reduce((total, value) => total + value, 0)
  }
  const gradients: number[][] = []
  for (const [index, size] of sizes.entries()) {
    const gradient: number[] = []
    for (let element = 0; element < size; element++) {
      gradient.push(((await at(index, element, step)) - (await at(index, element, -step))) / (2 * step))
    }
    gradients.push(gradient)
  }
  for (const input of inputs) input.release()
  return gradients
}

/** Largest |left − right| relative to the largest magnitude of `right` (at least 1e-3). */
function difference(left: readonly number[], right: readonly number[]): number {
  const scale = Math.max(1e-3, ...right.map(Math.abs))
  return Math.max(0, ...left.map((value, index) => Math.abs(value - (right[index] as number)) / scale))
}

/**
 * Checks gradients twice: the oracle's analytic ones against central differences of its float64 forward, then those of
 * each device against the oracle's.
 *
 * @param devices - devices to compare to the oracle, e.g. `cpu:avx2`
 * @throws `ERR_GRADIENT` naming the device, the input and the difference found
 */
export async function checkGradients(
  definition: GradientCase,
  devices: readonly DeviceName[] = ['cpu'],
): Promise<GradientReport> {
  const oracle = device('oracle')
  const expected = await analytic(oracle, definition)
  const measured = await numeric(oracle, definition)
  const oracleDifferences = expected.map((gradient, index) => difference(gradient, measured[index] as number[]))
  judge('oracle (against central differences)', oracleDifferences, definition.oracleTolerance ?? 1e-6)
  const byDevice: Record<string, readonly number[]> = {}
  for (const name of devices) {
    const on = device(name)
    const computeDType = on.computeDType
    on.computeDType = 'float32'
    const found = await analytic(on, definition)
    on.computeDType = computeDType
    const differences = found.map((gradient, index) => difference(gradient, expected[index] as number[]))
    judge(name, differences, definition.deviceTolerance ?? 2e-4)
    byDevice[name] = differences
  }
  return { oracle: oracleDifferences, devices: byDevice }
}

function judge(where: string, differences: readonly number[], tolerance: number): void {
  const worst = differences.findIndex((value) => !(value <= tolerance))
  if (worst < 0) return
  throw new SwiftError({
    code: 'ERR_GRADIENT',
    asked: `The gradient of input ${worst} on ${where}`,
    found: `it differs by ${differences[worst]?.toExponential(2)}, more than ${tolerance}`,
    remedy: 'Correct the backward (or state why this function needs a wider tolerance)',
    details: { differences },
  })
}
