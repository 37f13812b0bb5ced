import { readFile } from 'node:fs/promises'
import { SwiftError } from '@swift/spec'

/**
 * Options in a YAML or JSON file: the same names as on the command line, in camelCase.
 * @throws `ERR_CONFIG_FILE`
 */
export async function readConfigFile(path: string): Promise<Readonly<Record<string, unknown>>> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (cause) {
    throw configError(path, `it cannot be read (${(cause as NodeJS.ErrnoException).code ?? String(cause)})`, cause)
  }
  let parsed: unknown
  try {
    parsed = path.endsWith('.json') ? (JSON.parse(text) as unknown) : (await import('yaml')).parse(text)
  } catch (cause) {
    throw configError(
      path,
      `it does not parse: ${cause instanceof Error ? cause.message.split('\n')[0] : String(cause)}`,
      cause,
    )
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw configError(path, 'its top level is not a mapping of options')
  }
  return parsed as Record<string, unknown>
}

function configError(path: string, found: string, cause?: unknown): SwiftError {
  return new SwiftError({
    code: 'ERR_CONFIG_FILE',
    asked: `The options in ${path}`,
    found,
    remedy: 'Write `name: value` lines (YAML) or an object (JSON) with the names that --help prints, in camelCase',
    cause,
  })
}
