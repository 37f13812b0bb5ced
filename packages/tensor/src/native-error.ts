import { SwiftError } from '@swift/spec'

const coded = /^(?:Error: )?(ERR_[A-Z0-9_]+): ([\s\S]*)$/

/** Turns an error of the native binding (`CODE: message`) into a {@link SwiftError}; leaves others as they are. */
export function fromNative(error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const match = coded.exec(error.message)
  if (match === null) return error
  const [, code, message] = match
  const separator = (message ?? '').indexOf(': ')
  const general = code?.startsWith('ERR_ISA_') === true ? 'SWIFT_ISA' : 'A tensor operation'
  const asked = separator > 0 ? (message ?? '').slice(0, separator) : general
  const found = separator > 0 ? (message ?? '').slice(separator + 2) : (message ?? '')
  return new SwiftError({ code: code as `ERR_${string}`, asked, found, remedy: remedyFor(code ?? ''), cause: error })
}

const remedies: Readonly<Record<string, string>> = {
  ERR_TENSOR_RELEASED: 'Keep the tensor in a scope that outlives its last use',
  ERR_OUT_OF_MEMORY: 'Use shorter batches, a recompute policy or a smaller model, or raise the limit',
  ERR_META_READ: 'Read values on a device that computes, such as cpu',
  ERR_FILE_OPEN: 'Check the path and the permissions',
  ERR_FILE_EMPTY: 'Download or write the file again',
  ERR_FILE_TRUNCATED: 'Download or write the file again',
  ERR_ISA_UNKNOWN: 'Unset SWIFT_ISA, or set it to an instruction set of this CPU',
  ERR_ISA_UNAVAILABLE: 'Unset SWIFT_ISA, or set it to an instruction set of this CPU',
  ERR_INTERNAL: 'This is a fault of the kernels; please report it with this message',
}

function remedyFor(code: string): string {
  return remedies[code] ?? 'Check the shapes, dtypes and options of the call'
}
