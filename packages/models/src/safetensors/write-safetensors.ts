import { open, rename, rm, type FileHandle } from 'node:fs/promises'
import { dirname } from 'node:path'
import { SwiftError, type DType } from '@swift/spec'
import type { Tensor } from '@swift/tensor'
import { safetensorsDTypes } from './header.ts'

/** Options of {@link writeSafetensors}. */
export interface WriteSafetensorsOptions {
  /** Strings stored beside the tensors, e.g. `{ format: 'pt' }`. */
  readonly metadata?: Readonly<Record<string, string>>
}

function dtypeName(tensor: Tensor, name: string): { readonly label: string; readonly size: number } {
  const found = Object.entries(safetensorsDTypes).find(([, { dtype }]) => dtype === (tensor.dtype satisfies DType))
  if (found !== undefined) return { label: found[0], size: found[1].size }
  throw new SwiftError({
    code: 'ERR_SAFETENSORS_DTYPE',
    asked: `Writing ${name}`,
    found: `${tensor.dtype} is a weight format, not a dtype of safetensors`,
    remedy: 'Export it through its quantizer, or dequantize it',
  })
}

/** What data begin at a multiple of: a cache line, so that mapped weights are read in whole lines. */
const alignment = 64

/** Most bytes of one write: the operating system takes about 2 GiB at once. */
const writeBytes = 2 ** 30

/** Bytes of the length field and header, padded with spaces so that data begin at a multiple of {@link alignment}. */
function encodeHeader(tensors: ReadonlyMap<string, Tensor>, metadata: Readonly<Record<string, string>>): Uint8Array {
  let offset = 0
  const entries = [...tensors].map(([name, tensor]) => {
    const { label, size } = dtypeName(tensor, name)
    const begin = offset
    offset += tensor.elements * size
    return [name, { dtype: label, shape: tensor.shape, data_offsets: [begin, offset] }] as const
  })
  const meta = Object.keys(metadata).length === 0 ? [] : [['__metadata__', metadata] as const]
  const text = new TextEncoder().encode(JSON.stringify(Object.fromEntries([...meta, ...entries])))
  const padded = Math.ceil((8 + text.length) / alignment) * alignment - 8
  const bytes = new Uint8Array(8 + padded).fill(0x20)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true)
  bytes.set(text, 8)
  return bytes
}

/** The coded form of a failed write. */
export function writeError(path: string, cause: unknown): unknown {
  const code = (cause as NodeJS.ErrnoException | null)?.code
  if (code === undefined || SwiftError.isInstance(cause)) return cause
  const full = code === 'ENOSPC' || code === 'EDQUOT'
  return new SwiftError({
    code: full ? 'ERR_DISK_FULL' : 'ERR_FILE_WRITE',
    asked: `Writing ${path}`,
    found: full ? `no space left on the device (${code})` : `the operating system said ${code}`,
    remedy: full
      ? 'Free some space or write elsewhere; nothing that existed before was touched'
      : 'Check the folder and its permissions',
    cause,
  })
}

/**
 * Writes all of it in as few calls as possible: Linux keeps what one call writes in pages of that size, and weights mapped
 * from large pages are read a quarter faster than from those that the small writes of `writeFile` leave.
 */
async function writeWhole(handle: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.byteLength;) {
    const { bytesWritten } = await handle.write(bytes, at, Math.min(bytes.byteLength - at, writeBytes))
    at += bytesWritten
  }
}

/** Flushes a folder's entries to disk, where the platform can. */
export async function syncFolder(folder: string): Promise<void> {
  if (process.platform === 'win32') return
  const handle = await open(folder, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}

/**
 * Writes tensors into a safetensors file, all of it or nothing: into a temporary file, flushed, then renamed. One
 * tensor at a time is held in host memory. Larger elements come first, so that all data are aligned.
 * @throws `ERR_DISK_FULL`, `ERR_FILE_WRITE`, `ERR_SAFETENSORS_DTYPE`
 */
export async function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, Tensor>,
  options: WriteSafetensorsOptions = {},
): Promise<void> {
  const ordered = new Map(
    [...tensors].toSorted(([leftName, left], [rightName, right]) => {
      const bySize = dtypeName(right, rightName).size - dtypeName(left, leftName).size
      return bySize !== 0 ? bySize : leftName < rightName ? -1 : 1
    }),
  )
  const header = encodeHeader(ordered, options.metadata ?? {})
  const temporary = `${path}.${process.pid}.tmp`
  try {
    const handle = await open(temporary, 'w')
    try {
      await writeWhole(handle, header)
      for (const tensor of ordered.values()) await writeWhole(handle, await storedBytes(tensor))
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
    await syncFolder(dirname(path))
  } catch (cause) {
    await rm(temporary, { force: true })
    throw writeError(path, cause)
  }
}

/** A tensor's bytes in its own dtype; the oracle gives floats as float64, which are narrowed. */
async function storedBytes(tensor: Tensor): Promise<Uint8Array> {
  if (!tensor.device.storesDouble || tensor.dtype === 'float64') return tensor.bytes()
  const values = await tensor.read()
  if (tensor.dtype === 'float32') return new Uint8Array(Float32Array.from(values as Float64Array).buffer)
  if (tensor.dtype !== 'bfloat16' && tensor.dtype !== 'float16') return tensor.bytes()
  throw new SwiftError({
    code: 'ERR_SAFETENSORS_DTYPE',
    asked: `Writing a ${tensor.dtype} tensor of the oracle device`,
    found: 'the oracle holds it in float64',
    remedy: 'Cast it to float32 first',
  })
}
