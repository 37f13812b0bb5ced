import { add, clearGradient, full, linear, scope, sum, Tape, type Device } from '@swift/tensor'

/** What this machine does in a few short trials, as the plan's clock. */
export interface MachineProbe {
  /** Rate of a matrix product of the model's width. */
  readonly flopsPerSecond: number
  /** Rate of an element-wise op that streams through memory. */
  readonly bytesPerSecond: number
  /** Time of an op that does almost nothing, its recording and its call included. */
  readonly secondsPerOp: number
  /** Time the trials took. */
  readonly durationSeconds: number
}

/** Rows of the probed product: enough to be limited by arithmetic. */
const productRows = 256
const productSeconds = 0.1
const streamElements = 4 * 2 ** 20
const chainLength = 32
const chainRepeats = 3

async function secondsOf(device: Device, body: () => void): Promise<number> {
  await device.flush()
  const start = performance.now()
  body()
  await device.flush()
  return (performance.now() - start) / 1000
}

/**
 * Measures the machine in about 0.2 s: a matrix product of `[256, width]` by `[width, width]` in the device's compute
 * dtype, an addition of 16 MiB tensors, and a chain of tiny products with its gradient.
 * @param width - inner extent of the model's products; clamped to 256 … 2048
 */
export async function probeMachine(device: Device, width: number): Promise<MachineProbe> {
  const start = performance.now()
  const extent = Math.min(2048, Math.max(256, width))
  const product = await probeProduct(device, extent)
  const bytesPerSecond = await probeStream(device)
  const secondsPerOp = await probeSmallOps(device)
  return { flopsPerSecond: product, bytesPerSecond, secondsPerOp, durationSeconds: (performance.now() - start) / 1000 }
}

async function probeProduct(device: Device, extent: number): Promise<number> {
  const x = full(device, [productRows, extent], 0.5)
  const weight = full(device, [extent, extent], 0.01)
  const flops = 2 * productRows * extent * extent
  const once = (): void => scope(() => void linear(x, weight))
  try {
    await secondsOf(device, once)
    const single = await secondsOf(device, once)
    const repeats = Math.min(1000, Math.max(1, Math.floor(productSeconds / Math.max(single, 1e-6))))
    const seconds = await secondsOf(device, () => {
      for (let repeat = 0; repeat < repeats; repeat += 1) once()
    })
    return (flops * repeats) / Math.max(seconds, 1e-9)
  } finally {
    x.release()
    weight.release()
  }
}

async function probeStream(device: Device): Promise<number> {
  const x = full(device, [streamElements], 1)
  const once = (): void => scope(() => void add(x, x))
  try {
    await secondsOf(device, once)
    const seconds = await secondsOf(device, once)
    return (streamElements * 4 * 3) / Math.max(seconds, 1e-9)
  } finally {
    x.release()
  }
}

/** A chain of tiny products, recorded and run backward as a training step does it. */
async function probeSmallOps(device: Device): Promise<number> {
  const x = full(device, [1, 16], 1)
  const weight = full(device, [16, 16], 0.01)
  weight.requiresGrad = true
  const once = (): void =>
    scope(() => {
      using tape = new Tape()
      const total = tape.record(() => {
        let y = x
        for (let link = 0; link < chainLength; link += 1) y = linear(y, weight)
        return sum(y)
      })
      tape.backward(total)
      clearGradient(weight)
    })
  try {
    // The first rounds compile this code; steps run it many times.
    await secondsOf(device, () => Array.from({ length: chainRepeats }, once))
    const opsBefore = device.statistics().ops
    const seconds = await secondsOf(device, () => Array.from({ length: chainRepeats }, once))
    return seconds / Math.max(1, device.statistics().ops - opsBefore)
  } finally {
    x.release()
    weight.release()
  }
}

/** Seconds of work by its counts: arithmetic, traffic and calls are added, which errs on the slow side. */
export function secondsOfWork(
  probe: MachineProbe,
  work: { readonly flops: number; readonly bytesMoved: number; readonly ops: number },
): number {
  return work.flops / probe.flopsPerSecond + work.bytesMoved / probe.bytesPerSecond + work.ops * probe.secondsPerOp
}
