import { createHash } from 'node:crypto'
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import type { RejectedRow } from '../rejected-rows.ts'
import type { TokenStore } from './token-store.ts'

/** Raised whenever tokens of the same files would come out otherwise. */
export const tokenCacheVersion = 1

const magic = 'SWIFTTOK'

/** Everything a cache file holds. */
export interface CachedTokens {
  readonly store: TokenStore
  /** Paths of the files, by the index in the store's origins. */
  readonly files: readonly string[]
  readonly rowCount: number
  readonly rejected: readonly RejectedRow[]
  /** Answers that got an end token of their own. */
  readonly appendedEndTokens: number
}

type Section = Int32Array | Uint8Array | Float32Array | Float64Array

interface Header {
  readonly version: number
  readonly lengths: readonly number[]
  readonly files: readonly string[]
  readonly rowCount: number
  readonly rejected: readonly RejectedRow[]
  readonly appendedEndTokens: number
}

function sections({ starts, ids, weights, origins, trained }: TokenStore): readonly Section[] {
  // Widest elements first, so that every section is aligned.
  return [starts, ids, weights, origins, trained]
}

function asBytes(section: Section): Uint8Array {
  return new Uint8Array(section.buffer, section.byteOffset, section.byteLength)
}

/**
 * Writes a cache file: magic, header length, header (JSON padded to 8 bytes), the arrays, and the SHA-256 of all that.
 * Written aside, flushed and renamed.
 */
export async function writeTokenCache(path: string, tokens: CachedTokens): Promise<void> {
  const { files, rowCount, rejected, appendedEndTokens, store } = tokens
  const parts = sections(store)
  const header: Header = {
    version: tokenCacheVersion,
    lengths: parts.map(({ length }) => length),
    files,
    rowCount,
    rejected,
    appendedEndTokens,
  }
  const text = new TextEncoder().encode(JSON.stringify(header))
  const padded = new Uint8Array(Math.ceil(text.length / 8) * 8).fill(0x20)
  padded.set(text)
  const prefix = new Uint8Array(16)
  prefix.set(new TextEncoder().encode(magic))
  new DataView(prefix.buffer).setUint32(8, padded.length, true)
  const pieces = [prefix, padded, ...parts.map(asBytes)]
  const digest = createHash('sha256')
  for (const piece of pieces) digest.update(piece)
  await mkdir(dirname(path), { recursive: true })
  const temporary = `${path}.${process.pid}.tmp`
  try {
    const handle = await open(temporary, 'w')
    try {
      for (const piece of pieces) await handle.writeFile(piece)
      await handle.writeFile(digest.digest())
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

/** What reading a cache file came to. */
export type CacheReading =
  | { readonly kind: 'hit'; readonly tokens: CachedTokens }
  | { readonly kind: 'missing' }
  | { readonly kind: 'corrupt'; readonly why: string }

function decode(bytes: Uint8Array): CachedTokens | string {
  if (bytes.length < 16 + 32) return `it has only ${bytes.length} bytes`
  if (new TextDecoder().decode(bytes.subarray(0, 8)) !== magic) return 'it does not begin as a token cache'
  const body = bytes.subarray(0, bytes.length - 32)
  const digest = createHash('sha256').update(body).digest()
  if (!digest.equals(bytes.subarray(bytes.length - 32))) return 'its checksum does not match'
  const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(8, true)
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(16, 16 + length))) as Header
  if (header.version !== tokenCacheVersion) return `it is of version ${header.version}, this is ${tokenCacheVersion}`
  let at = 16 + length
  const take = <T extends Section>(make: (length: number) => T, index: number): T => {
    const array = make(header.lengths[index] ?? 0)
    asBytes(array).set(bytes.subarray(at, at + array.byteLength))
    at += array.byteLength
    return array
  }
  const starts = take((count) => new Float64Array(count), 0)
  const ids = take((count) => new Int32Array(count), 1)
  const weights = take((count) => new Float32Array(count), 2)
  const origins = take((count) => new Int32Array(count), 3)
  const trained = take((count) => new Uint8Array(count), 4)
  const { files, rowCount, rejected, appendedEndTokens } = header
  return { store: { ids, trained, weights, starts, origins }, files, rowCount, rejected, appendedEndTokens }
}

/** Reads a cache file; damage is told, never used. */
export async function readTokenCache(path: string): Promise<CacheReading> {
  let bytes: Uint8Array
  try {
    bytes = await readFile(path)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code
    return code === 'ENOENT'
      ? { kind: 'missing' }
      : { kind: 'corrupt', why: `it cannot be read (${code ?? 'unknown'})` }
  }
  const decoded = decode(bytes)
  return typeof decoded === 'string' ? { kind: 'corrupt', why: decoded } : { kind: 'hit', tokens: decoded }
}
