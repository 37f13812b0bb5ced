import { SwiftError } from '@swift/spec'
import { paint, printJson, type OutputMode } from './output.ts'

/**
 * Prints an error: code, what was asked, what was found, what to do; as one JSON line in JSON mode.
 * @returns the exit code: 2 for a coded error, 1 for a fault of the program
 */
export function printError(error: unknown, mode: OutputMode): number {
  if (SwiftError.isInstance(error)) {
    if (mode.json) {
      const { code, asked, found, remedy, details } = error
      printJson({ type: 'error', code, asked, found, remedy, details })
    } else {
      const head = paint({ colour: mode.colour && process.stderr.isTTY === true }, 'red', `error ${error.code}`)
      process.stderr.write(`${head}\n  asked   ${error.asked}\n  found   ${error.found}\n  to do   ${error.remedy}\n`)
      if (mode.debug) process.stderr.write(`${error.stack ?? ''}\n`)
    }
    return 2
  }
  const native = error instanceof Error && 'code' in error ? String(error.code) : undefined
  const message = error instanceof Error ? error.message : String(error)
  if (mode.json) printJson({ type: 'error', code: native ?? 'ERR_INTERNAL', found: message })
  else {
    process.stderr.write(`error ${native ?? 'ERR_INTERNAL'}\n  ${message}\n`)
    if (mode.debug && error instanceof Error) process.stderr.write(`${error.stack ?? ''}\n`)
    else process.stderr.write('  This is a fault of the program; run again with --debug for the stack.\n')
  }
  return native?.startsWith('ERR_') === true ? 2 : 1
}
