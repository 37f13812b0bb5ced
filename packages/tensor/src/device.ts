import { cpuInfo, type NativeFile } from '@swift/kernels'
import { SwiftError, type ComputeDType, type DType, type MarkStream } from '@swift/spec'
import { callBuffer } from './call-buffer.ts'
import { decodeTensors } from './decode-tensors.ts'
import { encodeCall, type OpAttributes, type OpInputs } from './encode-call.ts'
import { memoryCategories, type MemoryCategory } from './category.ts'
import { fromNative } from './native-error.ts'
import { dtypeNames, findOp, guarded, guardedAsync, runtime } from './runtime.ts'
import { Tensor } from './tensor.ts'

/** Names of the devices of this build; `cpu:<isa>` is a CPU device held to one instruction set, for tests. */
export type DeviceName = 'cpu' | `cpu:${string}` | 'oracle' | 'meta'

/** Byte, FLOP and traffic figures of a device, kept in call order. */
export interface DeviceStatistics {
  /** Bytes held by live tensors. */
  readonly liveBytes: number
  /** Highest live bytes plus workspace since the last reset. */
  readonly peakBytes: number
  /** Live bytes by dtype, zero entries left out. */
  readonly liveBytesByDType: Readonly<Partial<Record<DType, number>>>
  /** Highest live bytes by dtype since the last reset, zero entries left out. */
  readonly peakBytesByDType: Readonly<Partial<Record<DType, number>>>
  /** Live bytes by category at the moment of the peak. */
  readonly peakByCategory: Readonly<Record<MemoryCategory, number>>
  /** Scratch bytes of the op that ran at the peak. */
  readonly workspaceBytesAtPeak: number
  /** Live storages. */
  readonly liveStorages: number
  /** Floating-point operations since the last reset; a multiply-add counts two. */
  readonly flops: number
  /** Bytes moved by ops since the last reset. */
  readonly bytesMoved: number
  /** Ops since the last reset. */
  readonly ops: number
}

/** One op that a device ran while its times were recorded. */
export interface OpTime {
  /** Name of the op. */
  readonly name: string
  /** Its inputs, e.g. `float32[512, 1024] bfloat16[2048, 1024]`; one left out is `-`. */
  readonly operands: string
  /** From the start of the recording to the start of the op. */
  readonly startMs: number
  /** Time on the device's thread, the allocation of the outputs included. */
  readonly durationMs: number
  /** Floating-point operations by the op's declaration; a multiply-add counts two. */
  readonly flops: number
  /** Bytes read and written at least once, by the op's declaration. */
  readonly bytes: number
}

/** Host data for a new tensor. */
export type HostData =
  | Float32Array
  | Int32Array
  | Uint8Array
  | Int8Array
  | Uint16Array
  | Float64Array
  | readonly number[]

/**
 * A device: a stream of ops executed in order by its own thread.
 *
 * Calls return when they are queued. Values are read asynchronously; a failed op rejects the next read or
 * {@link Device.flush}.
 */
export class Device implements MarkStream {
  readonly name: DeviceName
  readonly index: number
  /** Precision of the inputs of matrix products. */
  computeDType: ComputeDType
  #activationDType: ComputeDType | undefined

  constructor(name: DeviceName) {
    this.name = name
    this.index = guarded(() => runtime().openDevice(name))
    this.computeDType = 'float32'
  }

  /**
   * What models store activations and their gradients in where the products that read them round them to bfloat16 anyway
   * and memory would be the slower part: `bfloat16` on processors with tile registers that compute in it, else
   * `float32`. The residual stream, sums and statistics are float32 everywhere. Assigning `undefined` restores the default.
   */
  get activationDType(): ComputeDType {
    return this.#activationDType ?? (this.computeDType === 'bfloat16' && hasTiles() ? 'bfloat16' : 'float32')
  }

  set activationDType(dtype: ComputeDType | undefined) {
    this.#activationDType = dtype
  }

  /** Whether floats are stored (and read back) as 64-bit values: the oracle's way. */
  get storesDouble(): boolean {
    return this.name === 'oracle'
  }

  /** Whether ops compute nothing and only account: the plan's device. */
  get isMeta(): boolean {
    return this.name === 'meta'
  }

  /**
   * Runs a declared op.
   * @param name - op of the native table
   * @param inputs - tensors by input name; `variadic` holds the repeated groups, flat
   * @param attributes - numbers and flags by attribute name; left out means default
   * @param rest - trailing numbers (extents, axes)
   * @returns the outputs, in declared order
   * @throws coded errors of validation and shape inference, at the call
   */
  run(name: string, inputs: OpInputs, attributes: OpAttributes = {}, rest: readonly number[] = []): Tensor[] {
    const op = findOp(name)
    const slots = op.inputs.length + (inputs.variadic?.length ?? 0) + op.attributes.length + rest.length
    const buffer = callBuffer(slots)
    const ids = encodeCall(op, inputs, attributes, rest, buffer)
    try {
      const count = runtime().dispatch(this.index, op.code, ids, op.attributes.length, rest.length)
      return decodeTensors(this, buffer, count)
    } catch (error) {
      throw fromNative(error)
    }
  }

  /**
   * A tensor from host data (copied during the call).
   * @param data - values; plain numbers become `float32` unless `dtype` says `int32`
   * @param shape - extents; default `[data.length]`
   * @param dtype - default: that of the array (`Uint16Array` needs `bfloat16` or `float16`)
   */
  tensor(data: HostData, shape: readonly number[] = [data.length], dtype: DType = defaultDType(data)): Tensor {
    const array = toTyped(data, dtype)
    const bytes = new Uint8Array(array.buffer, array.byteOffset, array.byteLength)
    const code = dtypeNames.indexOf(dtype)
    const id = guarded(() => runtime().upload(this.index, code, Float64Array.from(shape), bytes))
    return new Tensor(id, [...shape], dtype, this)
  }

  /**
   * A tensor over a region of a mapped file: no copy where the device can read it in place. It is read-only.
   * @throws `ERR_FILE_TRUNCATED` when the region exceeds the file
   */
  map(
    file: NativeFile,
    region: { readonly dtype: DType; readonly shape: readonly number[]; readonly byteOffset: number },
  ): Tensor {
    const { dtype, shape, byteOffset } = region
    const code = dtypeNames.indexOf(dtype)
    const id = guarded(() => runtime().map(this.index, code, Float64Array.from(shape), file, byteOffset))
    return new Tensor(id, [...shape], dtype, this)
  }

  /** Gives memory that the device keeps for later tensors back to the system, in stream order. */
  trim(): void {
    runtime().trim(this.index)
  }

  /** Resolves when everything queued so far is done. @throws the error of an earlier op that failed */
  async flush(): Promise<void> {
    await guardedAsync(() => runtime().flush(this.index))
  }

  /** Queues a ledger mark in stream order. */
  mark(token: number, edge: 'begin' | 'end'): void {
    runtime().mark(this.index, token, edge === 'begin' ? 0 : 1)
  }

  /**
   * Records how long each op takes, for profiles and plans. Begins (or stops) in stream order and costs nothing before
   * the first call. On `meta` nothing takes time; what each op would compute and move is recorded.
   * @param on - whether the ops queued after this call are recorded
   * @returns the ops recorded up to this call, in the order they ran
   */
  async recordOps(on: boolean): Promise<readonly OpTime[]> {
    return await guardedAsync(() => runtime().recordOps(this.index, on))
  }

  /** Figures since the last reset. */
  statistics(): DeviceStatistics {
    const stats = runtime().stats(this.index)
    const byDType = (values: readonly number[]): Partial<Record<DType, number>> =>
      Object.fromEntries(
        dtypeNames.map((name, code) => [name, values[code] ?? 0] as const).filter(([, bytes]) => bytes > 0),
      )
    return {
      liveBytes: stats.liveBytes,
      peakBytes: stats.peakBytes,
      liveBytesByDType: byDType(stats.liveByDtype),
      peakBytesByDType: byDType(stats.peakByDtype),
      peakByCategory: Object.fromEntries(
        memoryCategories.map((name, code) => [name, stats.atPeakByCategory[code] ?? 0]),
      ) as Record<MemoryCategory, number>,
      workspaceBytesAtPeak: stats.workspaceAtPeak,
      liveStorages: stats.liveStorages,
      flops: stats.flops,
      bytesMoved: stats.bytesMoved,
      ops: stats.ops,
    }
  }

  /** Starts a new peak at the present live bytes and zeroes FLOPs, traffic and op counts. */
  resetStatistics(): void {
    runtime().resetStats(this.index)
  }

  /** Bounds live bytes: an op that would pass it throws `ERR_OUT_OF_MEMORY` before it runs. 0 removes the bound. */
  limitBytes(bytes: number): void {
    runtime().setLimit(this.index, bytes)
  }

  /** Live tensors as text, for leak reports: `id dtype[shape]`. */
  leakReport(): readonly string[] {
    return runtime()
      .live(this.index)
      .map((live) => `${live.id} ${live.description}`)
  }
}

function defaultDType(data: HostData): DType {
  if (data instanceof Int32Array) return 'int32'
  if (data instanceof Uint8Array) return 'uint8'
  if (data instanceof Int8Array) return 'int8'
  if (data instanceof Float64Array) return 'float64'
  if (data instanceof Uint16Array) return 'bfloat16'
  return 'float32'
}

function toTyped(data: HostData, dtype: DType): Exclude<HostData, readonly number[]> {
  if (ArrayBuffer.isView(data)) return data as Exclude<HostData, readonly number[]>
  if (dtype === 'float32') return Float32Array.from(data)
  if (dtype === 'int32') return Int32Array.from(data)
  if (dtype === 'float64') return Float64Array.from(data)
  throw new SwiftError({
    code: 'ERR_DTYPE_MISMATCH',
    asked: `A ${dtype} tensor from plain numbers`,
    found: 'plain numbers convert to float32, float64 or int32 only',
    remedy: 'Pass a typed array, or cast the tensor afterwards',
  })
}

/** What the processor offers and what the `cpu` device uses. */
export interface CpuDescription {
  /** Instruction set in use (`SWIFT_ISA` lowers it). */
  readonly isa: string
  /** Instruction sets this machine has, ascending. */
  readonly available: readonly string[]
  /** Whether bfloat16 is multiplied natively, which makes it the default compute dtype. */
  readonly nativeBfloat16: boolean
  /** Threads of the pool (`SWIFT_THREADS` sets it). */
  readonly threads: number
}

/** Describes the processor. @throws `ERR_ISA_UNKNOWN`, `ERR_ISA_UNAVAILABLE` for a bad `SWIFT_ISA` */
export function describeCpu(): CpuDescription {
  return guarded(() => cpuInfo())
}

let tiles: boolean | undefined

function hasTiles(): boolean {
  tiles ??= describeCpu().isa === 'amxbf16'
  return tiles
}

const devices = new Map<DeviceName, Device>()

/** The device of that name in this thread, started at the first call. @throws `ERR_DEVICE_UNKNOWN` */
export function device(name: DeviceName): Device {
  let found = devices.get(name)
  if (found === undefined) {
    found = new Device(name)
    if (name === 'cpu' && describeCpu().nativeBfloat16) found.computeDType = 'bfloat16'
    devices.set(name, found)
  }
  return found
}
