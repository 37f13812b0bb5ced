/** Marks our errors across duplicated versions of this package, where `instanceof` would fail. */
const marker: unique symbol = Symbol.for('@swift/spec/error')

/** What every error of this project says. */
export interface SwiftErrorDetails {
  /** Stable, for programs: `ERR_` and upper-case words. */
  readonly code: `ERR_${string}`
  /** What was asked for, as a noun phrase or sentence without its full stop. */
  readonly asked: string
  /** What was found instead. */
  readonly found: string
  /** What to do about it. */
  readonly remedy: string
  /** The error underneath, when there is one. */
  readonly cause?: unknown
  /** Offending values for programs (paths, counts, shapes); must survive `JSON.stringify`. */
  readonly details?: Readonly<Record<string, unknown>>
}

/**
 * The base of every error this project throws: a stable `code`, what was asked, what was found, what to do.
 * The message is those three as sentences: `asked: found. remedy`.
 */
export class SwiftError extends Error {
  /** Stable, for programs. */
  readonly code: `ERR_${string}`
  /** What was asked for. */
  readonly asked: string
  /** What was found instead. */
  readonly found: string
  /** What to do about it. */
  readonly remedy: string
  /** Offending values for programs; empty when there are none. */
  readonly details: Readonly<Record<string, unknown>>

  constructor({ code, asked, found, remedy, cause, details = {} }: SwiftErrorDetails) {
    super(`${asked}: ${found}. ${remedy}`, cause === undefined ? undefined : { cause })
    this.name = 'SwiftError'
    this.code = code
    this.asked = asked
    this.found = found
    this.remedy = remedy
    this.details = details
    Object.defineProperty(this, marker, { value: true })
  }

  /** Whether `error` is one of ours, optionally with this code. Works across versions of the package. */
  static isInstance(error: unknown, code?: `ERR_${string}`): error is SwiftError {
    if (typeof error !== 'object' || error === null || !(marker in error)) return false
    return code === undefined || ('code' in error && error.code === code)
  }
}
