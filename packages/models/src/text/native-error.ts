import { SwiftError } from '@swift/spec'

/** What to say around an error from the native side. */
export interface NativeCall {
  readonly asked: string
  readonly remedy: string
  /** Code when the native error carries none. */
  readonly code: `ERR_${string}`
}

function isErrorCode(text: string): text is `ERR_${string}` {
  return /^ERR_[A-Z0-9_]+$/.test(text)
}

/** Native errors cross as `CODE: message`; this makes them ours. */
export function toSwiftError(error: unknown, call: NativeCall): SwiftError {
  if (SwiftError.isInstance(error)) return error
  const message = error instanceof Error ? error.message : String(error)
  const separator = message.indexOf(': ')
  const prefix = message.slice(0, Math.max(separator, 0))
  const code = isErrorCode(prefix) ? prefix : call.code
  const found = isErrorCode(prefix) ? message.slice(separator + 2) : message
  return new SwiftError({ code, asked: call.asked, found, remedy: call.remedy, cause: error })
}

/** Runs native code and makes its errors ours. */
export function callNative<T>(call: NativeCall, run: () => T): T {
  try {
    return run()
  } catch (error) {
    throw toSwiftError(error, call)
  }
}
