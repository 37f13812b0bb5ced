import { NativeFile } from '@swift/kernels'
import { SwiftError } from '@swift/spec'
import type { Device, Tensor } from '@swift/tensor'
import {
  headerLimitBytes,
  parseSafetensorsHeader,
  safetensorsError,
  type SafetensorsHeader,
  type TensorEntry,
} from './header.ts'

/** A mapped safetensors file: tensors are used in place. */
export class SafetensorsFile {
  readonly path: string
  readonly header: SafetensorsHeader
  readonly #file: NativeFile

  private constructor(path: string, file: NativeFile, header: SafetensorsHeader) {
    this.path = path
    this.#file = file
    this.header = header
  }

  /**
   * Maps a file and checks its header.
   * @throws `ERR_SAFETENSORS_MISSING`, and those of `parseSafetensorsHeader`
   */
  static open(path: string): SafetensorsFile {
    const file = openFile(path)
    if (file.length < 8)
      throw safetensorsError(
        'ERR_SAFETENSORS_TRUNCATED',
        path,
        `it has ${file.length} bytes, less than its own length field`,
      )
    const prefix = file.slice(0, 8)
    const length = new DataView(prefix.buffer, prefix.byteOffset, 8).getBigUint64(0, true)
    if (length > BigInt(file.length - 8)) {
      throw safetensorsError(
        'ERR_SAFETENSORS_TRUNCATED',
        path,
        `its header claims ${length} bytes, the file has ${file.length}`,
      )
    }
    if (length > BigInt(headerLimitBytes)) {
      throw safetensorsError(
        'ERR_SAFETENSORS_HEADER',
        path,
        `its header claims ${length} bytes, more than the ${headerLimitBytes} allowed`,
      )
    }
    const bytes = Number(length)
    let text: string
    try {
      text = new TextDecoder('utf-8', { fatal: true }).decode(file.slice(8, bytes))
    } catch {
      throw safetensorsError('ERR_SAFETENSORS_HEADER', path, 'its header is not UTF-8')
    }
    return new SafetensorsFile(path, file, parseSafetensorsHeader(path, text, 8 + bytes, file.length))
  }

  /** The tensor of that name on a device, mapped where the device can. @throws `ERR_SAFETENSORS_TENSOR` */
  tensor(name: string, device: Device): Tensor {
    return device.map(this.#file, this.entry(name))
  }

  /** Dtype, shape and place of a tensor. @throws `ERR_SAFETENSORS_TENSOR` */
  entry(name: string): TensorEntry {
    const entry = this.header.tensors.get(name)
    if (entry !== undefined) return entry
    throw safetensorsError('ERR_SAFETENSORS_TENSOR', this.path, `it holds no tensor ${name}`, 'Check the name')
  }
}

function openFile(path: string): NativeFile {
  try {
    return new NativeFile(path)
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause)
    if (message.includes('ERR_FILE_EMPTY')) throw safetensorsError('ERR_SAFETENSORS_TRUNCATED', path, 'it is empty')
    throw new SwiftError({
      code: 'ERR_SAFETENSORS_MISSING',
      asked: `Reading ${path}`,
      found: message.replace(/^.*?: /, ''),
      remedy: 'Check the path and the permissions',
      cause,
    })
  }
}
