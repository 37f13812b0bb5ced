import { open, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { SwiftError } from '@swift/spec'

/** What the first frame of a segment says about it. */
export interface SegmentHeader {
  readonly file: string
  readonly rank: number
  readonly segment: number
  readonly startedUnixMs: number
}

/** Frame: length u32, kind u8, sequence u64, payload; the header is kind 1 and JSON. */
const payloadOffset = 13
const headerKind = 1
const longestHeader = 16 * 2 ** 20

/**
 * Headers of all segments of a ledger's folder, oldest first. For times of a run; balances come from the native meter.
 * @throws `ERR_LEDGER_EMPTY` where there is none, `ERR_LEDGER_SEGMENT` for one that does not begin with a header
 */
export async function segmentHeaders(directory: string): Promise<readonly SegmentHeader[]> {
  const names = (await readdir(directory)).filter((name) => name.startsWith('joules-') && name.endsWith('.swj'))
  if (names.length === 0) {
    throw new SwiftError({
      code: 'ERR_LEDGER_EMPTY',
      asked: `The energy ledger ${directory}`,
      found: 'no segment in the folder',
      remedy: 'Give the folder that a run wrote its energy to',
    })
  }
  const headers = await Promise.all(names.map((name) => readHeader(join(directory, name))))
  return headers.sort((left, right) => left.startedUnixMs - right.startedUnixMs)
}

async function readHeader(file: string): Promise<SegmentHeader> {
  const handle = await open(file, 'r')
  try {
    const start = Buffer.alloc(payloadOffset)
    await handle.read(start, 0, payloadOffset, 0)
    const length = start.readUInt32LE(0)
    if (start[4] !== headerKind || length === 0 || length > longestHeader) throw new TypeError('no header frame')
    const payload = Buffer.alloc(length)
    await handle.read(payload, 0, length, payloadOffset)
    const { rank, segment, startedUnixMs } = JSON.parse(payload.toString('utf8')) as SegmentHeader
    return { file, rank, segment, startedUnixMs }
  } catch (cause) {
    throw new SwiftError({
      code: 'ERR_LEDGER_SEGMENT',
      asked: `The header of ${file}`,
      found: cause instanceof Error ? cause.message : String(cause),
      remedy: 'Run swift energy verify on the folder',
      cause,
    })
  } finally {
    await handle.close()
  }
}
