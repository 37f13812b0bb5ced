import { SwiftError, type DType, type QuantLayout, type TensorHandle } from '@swift/spec'
import type { Device } from './device.ts'
import { callBuffer } from './call-buffer.ts'
import { guarded, guardedAsync, runtime } from './runtime.ts'
import { currentScope } from './scope-stack.ts'
import type { TapeNode } from './tape-node.ts'

/** Host arrays that a tensor can be read into. */
export type HostArray = Float32Array | Float64Array | Int32Array | Uint8Array | Int8Array | Uint16Array | BigInt64Array

interface Sharers {
  count: number
}

/**
 * A tensor: a handle (slot and generation) into the native table of its device.
 *
 * Creating and dropping this object costs nothing native; memory is freed by {@link Tensor.release}, by the end of
 * the {@link scope} it was made in, or by the tape. Using a released tensor throws `ERR_TENSOR_RELEASED`.
 */
export class Tensor implements TensorHandle {
  #id: number
  /** Tensors that share this id; the table's handle goes with the last of them. */
  readonly #sharers: Sharers
  readonly shape: readonly number[]
  readonly dtype: DType
  readonly quant: QuantLayout | undefined
  readonly device: Device
  /** Whether gradients flow into it while a tape records. Set on parameters by {@link Parameter}. */
  requiresGrad: boolean
  /** The tape node that produced it; set while a tape records. */
  producer: TapeNode | undefined

  constructor(
    id: number,
    shape: readonly number[],
    dtype: DType,
    device: Device,
    quant?: QuantLayout,
    sharers: Sharers = { count: 0 },
  ) {
    this.#id = id
    this.#sharers = sharers
    sharers.count += 1
    this.shape = shape
    this.dtype = dtype
    this.device = device
    this.quant = quant
    this.requiresGrad = false
    this.producer = undefined
    currentScope()?.add(this)
  }

  /** Slot and generation; 0 after release. */
  get id(): number {
    return this.#id
  }

  /** Number of logical elements. */
  get elements(): number {
    return this.shape.reduce((product, extent) => product * extent, 1)
  }

  /** Frees this handle; the memory goes with the last handle to it. Releasing twice is harmless. */
  release(): void {
    if (this.#id === 0) return
    currentScope()?.delete(this)
    const id = this.#drop()
    if (id !== 0) guarded(() => runtime().release(id))
  }

  /** Forgets the id; returns it where no other tensor shares it. */
  #drop(): number {
    const id = this.#id
    this.#id = 0
    this.#sharers.count -= 1
    return this.#sharers.count === 0 ? id : 0
  }

  /** Releases many tensors in one call; those that are released already are passed over. */
  static releaseAll(tensors: Iterable<Tensor>): void {
    const ids: number[] = []
    for (const tensor of tensors) {
      if (tensor.#id === 0) continue
      const id = tensor.#drop()
      if (id !== 0) ids.push(id)
    }
    if (ids.length === 0) return
    callBuffer(ids.length).set(ids)
    guarded(() => runtime().releaseAll(ids.length))
  }

  [Symbol.dispose](): void {
    this.release()
  }

  /** Removes it from the current scope without freeing it. */
  detachFromScope(): this {
    currentScope()?.delete(this)
    return this
  }

  /** A second handle to the same memory, without gradient history. */
  alias(): Tensor {
    return new Tensor(this.live(), this.shape, this.dtype, this.device, this.quant, this.#sharers)
  }

  /**
   * A handle to the same memory with another shape, starting `offset` elements in; without gradient history (see
   * the differentiable `reshape`).
   * @throws `ERR_SHAPE_MISMATCH` when it does not fit
   */
  view(shape: readonly number[], offset = 0): Tensor {
    const id = guarded(() => runtime().view(this.live(), Float64Array.from(shape), offset))
    return new Tensor(id, [...shape], this.dtype, this.device, this.quant)
  }

  /** The id, after checking that the handle is live. @throws `ERR_TENSOR_RELEASED` */
  live(): number {
    if (this.#id !== 0) return this.#id
    throw new SwiftError({
      code: 'ERR_TENSOR_RELEASED',
      asked: `Use of a ${this.dtype}[${this.shape.join(', ')}] tensor`,
      found: 'it was released before',
      remedy: 'Keep the tensor in a scope that outlives its last use',
    })
  }

  /** Raw little-endian bytes, once everything queued before is done. */
  async bytes(): Promise<Uint8Array> {
    const id = this.live()
    return await guardedAsync(() => runtime().read(id))
  }

  /**
   * The elements as the matching typed array (bfloat16 and float16 as raw `Uint16Array`; floats of the oracle device
   * as `Float64Array`).
   * @throws the error of any earlier op that failed on the device
   */
  async read(): Promise<HostArray> {
    const bytes = await this.bytes()
    return toHostArray(bytes, this.device.storesDouble && isFloat(this.dtype) ? 'float64' : this.dtype)
  }

  /** The elements as numbers in an array. */
  async toArray(): Promise<number[]> {
    const values = await this.read()
    if (values instanceof Uint16Array) {
      throw new SwiftError({
        code: 'ERR_DTYPE_MISMATCH',
        asked: 'Numbers of a tensor',
        found: `${this.dtype} has no JavaScript number form`,
        remedy: 'Cast it to float32 first',
      })
    }
    return Array.from(values as ArrayLike<number | bigint>, Number)
  }

  /** The only element as a number. @throws `ERR_SHAPE_MISMATCH` for more than one element */
  async item(): Promise<number> {
    if (this.elements !== 1) {
      throw new SwiftError({
        code: 'ERR_SHAPE_MISMATCH',
        asked: 'The single value of a tensor',
        found: `shape [${this.shape.join(', ')}] has ${this.elements}`,
        remedy: 'Reduce it first, or use read()',
      })
    }
    return (await this.toArray())[0] as number
  }
}

function isFloat(dtype: DType): boolean {
  return dtype.startsWith('float') || dtype === 'bfloat16'
}

function toHostArray(bytes: Uint8Array, dtype: DType): HostArray {
  const { buffer, byteOffset, byteLength } = bytes
  const aligned = byteOffset % 8 === 0 ? buffer : bytes.slice().buffer
  const start = byteOffset % 8 === 0 ? byteOffset : 0
  switch (dtype) {
    case 'float32':
      return new Float32Array(aligned, start, byteLength / 4)
    case 'float64':
      return new Float64Array(aligned, start, byteLength / 8)
    case 'int32':
      return new Int32Array(aligned, start, byteLength / 4)
    case 'int64':
      return new BigInt64Array(aligned, start, byteLength / 8)
    case 'int8':
      return new Int8Array(aligned, start, byteLength)
    case 'bfloat16':
    case 'float16':
      return new Uint16Array(aligned, start, byteLength / 2)
    default:
      return new Uint8Array(aligned, start, byteLength)
  }
}
