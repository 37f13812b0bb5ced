import { SwiftError, type DType } from '@swift/spec'

/** One tensor of a safetensors file. */
export interface TensorEntry {
  readonly dtype: DType
  readonly shape: readonly number[]
  /** First byte in the file. */
  readonly byteOffset: number
  /** Length in bytes. */
  readonly bytes: number
}

/** What a header says. */
export interface SafetensorsHeader {
  readonly tensors: ReadonlyMap<string, TensorEntry>
  readonly metadata: Readonly<Record<string, string>>
}

/** Dtypes by the names safetensors uses. */
export const safetensorsDTypes: Readonly<Record<string, { readonly dtype: DType; readonly size: number }>> = {
  F32: { dtype: 'float32', size: 4 },
  BF16: { dtype: 'bfloat16', size: 2 },
  F16: { dtype: 'float16', size: 2 },
  F64: { dtype: 'float64', size: 8 },
  I32: { dtype: 'int32', size: 4 },
  I64: { dtype: 'int64', size: 8 },
  I8: { dtype: 'int8', size: 1 },
  U8: { dtype: 'uint8', size: 1 },
  BOOL: { dtype: 'uint8', size: 1 },
}

/** Largest header that is read: the limit of the reference implementation. */
export const headerLimitBytes = 100_000_000

/** An error about the contents of a file. */
export function safetensorsError(
  code: `ERR_SAFETENSORS_${string}`,
  path: string,
  found: string,
  remedy = 'Download or save the file again',
): SwiftError {
  return new SwiftError({ code, asked: `Reading ${path}`, found, remedy, details: { path } })
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0
}

function readEntry(path: string, name: string, raw: unknown, dataStart: number, fileBytes: number): TensorEntry {
  const invalid = (found: string): SwiftError =>
    safetensorsError('ERR_SAFETENSORS_HEADER', path, `the entry of ${name} ${found}`)
  if (typeof raw !== 'object' || raw === null) throw invalid('is not an object')
  const { dtype, shape, data_offsets: offsets } = raw as Record<string, unknown>
  const known =
    typeof dtype === 'string' && Object.hasOwn(safetensorsDTypes, dtype) ? safetensorsDTypes[dtype] : undefined
  if (known === undefined) {
    throw safetensorsError(
      'ERR_SAFETENSORS_DTYPE',
      path,
      `${name} has the dtype ${JSON.stringify(dtype)}`,
      `Convert it to one of ${Object.keys(safetensorsDTypes).join(', ')}`,
    )
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) throw invalid('has a shape that is not a list of extents')
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount))
    throw invalid('has no data_offsets [begin, end]')
  const [begin, end] = offsets as [number, number]
  const bytes = (shape as number[]).reduce((product, extent) => product * extent, known.size)
  if (!Number.isSafeInteger(bytes)) throw invalid(`has the shape [${shape.join(', ')}], larger than any file`)
  if (end - begin !== bytes) throw invalid(`spans ${end - begin} bytes, its shape needs ${bytes}`)
  if (dataStart + end > fileBytes) {
    throw safetensorsError(
      'ERR_SAFETENSORS_TRUNCATED',
      path,
      `${name} ends at byte ${dataStart + end}, the file has ${fileBytes}`,
    )
  }
  return { dtype: known.dtype, shape: shape as number[], byteOffset: dataStart + begin, bytes }
}

/** Keys of the top level in order; JSON.parse would silently keep the last of two equal ones. */
function topLevelKeys(text: string): string[] {
  const keys: string[] = []
  let depth = 0
  for (let at = 0; at < text.length; at++) {
    const character = text[at]
    if (character === '{' || character === '[') depth += 1
    else if (character === '}' || character === ']') depth -= 1
    else if (character === '"') {
      let end = at + 1
      while (end < text.length && text[end] !== '"') end += text[end] === '\\' ? 2 : 1
      let next = end + 1
      while (next < text.length && ' \t\n\r'.includes(text[next] as string)) next += 1
      if (depth === 1 && text[next] === ':') keys.push(JSON.parse(text.slice(at, end + 1)) as string)
      at = end
    }
  }
  return keys
}

/** Every byte after the header belongs to one tensor, as in the reference implementation: what else is there hides. */
function checkLayout(
  path: string,
  tensors: ReadonlyMap<string, TensorEntry>,
  dataStart: number,
  fileBytes: number,
): void {
  const ordered = [...tensors]
    .filter(([, entry]) => entry.bytes > 0)
    .toSorted(([, a], [, b]) => a.byteOffset - b.byteOffset)
  const problem = (found: string): SwiftError => safetensorsError('ERR_SAFETENSORS_HEADER', path, found)
  let gap: string | undefined
  let end = dataStart
  let before = 'the header'
  for (const [name, { byteOffset, bytes }] of ordered) {
    if (byteOffset < end) throw problem(`${before} and ${name} overlap`)
    if (byteOffset > end) gap ??= `${byteOffset - end} bytes between ${before} and ${name} belong to no tensor`
    end = byteOffset + bytes
    before = name
  }
  if (gap !== undefined) throw problem(gap)
  if (end === fileBytes) return
  throw problem(`${fileBytes - end} bytes at its end belong to no tensor`)
}

/**
 * Parses the JSON header of a safetensors file and checks every claim in it against the file's length.
 * @param text - the header
 * @param dataStart - first byte after it
 * @throws `ERR_SAFETENSORS_HEADER`, `ERR_SAFETENSORS_DTYPE`, `ERR_SAFETENSORS_TRUNCATED`
 */
export function parseSafetensorsHeader(
  path: string,
  text: string,
  dataStart: number,
  fileBytes: number,
): SafetensorsHeader {
  let parsed: unknown
  try {
    parsed = JSON.parse(text)
  } catch (cause) {
    throw safetensorsError(
      'ERR_SAFETENSORS_HEADER',
      path,
      `its header is not JSON (${cause instanceof Error ? cause.message : String(cause)})`,
    )
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw safetensorsError('ERR_SAFETENSORS_HEADER', path, 'its header is not an object')
  }
  const seen = new Set<string>()
  const repeated = topLevelKeys(text).find((key) => seen.has(key) || seen.add(key).size === 0)
  if (repeated !== undefined) throw safetensorsError('ERR_SAFETENSORS_HEADER', path, `${repeated} occurs twice`)
  const { __metadata__: metadata, ...entries } = parsed as Record<string, unknown>
  const tensors = new Map<string, TensorEntry>()
  for (const [name, raw] of Object.entries(entries)) tensors.set(name, readEntry(path, name, raw, dataStart, fileBytes))
  checkLayout(path, tensors, dataStart, fileBytes)
  const strings = Object.entries((metadata ?? {}) as Record<string, unknown>).filter(
    ([, value]) => typeof value === 'string',
  )
  return { tensors, metadata: Object.fromEntries(strings) as Record<string, string> }
}
