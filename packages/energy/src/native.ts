import { SwiftError } from '@swift/spec'

/**
 * Run a native call and turn its error into one of ours.
 * @param asked what was being done, for the message
 */
export function callNative<T>(asked: string, call: () => T): T {
  try {
    return call()
  } catch (error) {
    throw toSwiftError(asked, error)
  }
}

/** The same for a call that answers later. */
export async function callNativeAsync<T>(asked: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call()
  } catch (error) {
    throw toSwiftError(asked, error)
  }
}

function isCode(value: unknown): value is `ERR_${string}` {
  return typeof value === 'string' && value.startsWith('ERR_')
}

function toSwiftError(asked: string, error: unknown): unknown {
  if (!(error instanceof Error)) return error
  const code: unknown = 'code' in error ? error.code : undefined
  if (!isCode(code)) return error
  // The native text is "what was found; what to do" or "what was found. What to do".
  const [, found = error.message, remedy = ''] = /^(.*?)(?:; |\. )([^;]*)$/su.exec(error.message) ?? []
  return new SwiftError({ code, asked, found, remedy: asSentence(remedy), cause: error })
}

function asSentence(text: string): string {
  if (text === '') return 'See the message above for what to change.'
  const sentence = text.charAt(0).toUpperCase() + text.slice(1)
  return sentence.endsWith('.') ? sentence : `${sentence}.`
}
