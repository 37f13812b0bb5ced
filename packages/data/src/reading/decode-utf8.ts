const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const lenient = new TextDecoder('utf-8', { ignoreBOM: true })

/** Text of UTF-8 bytes; undefined when they are not UTF-8. */
export function decodeUtf8(bytes: Uint8Array): string | undefined {
  try {
    return strict.decode(bytes)
  } catch {
    return undefined
  }
}

/** Position of the first byte that is not UTF-8, from 0. */
export function findInvalidUtf8(bytes: Uint8Array): number {
  let low = 0
  let high = bytes.length
  // A prefix is valid up to some point (cut characters at its end aside) and invalid beyond it.
  while (low < high) {
    const middle = (low + high) >> 1
    const decoder = new TextDecoder('utf-8', { fatal: true })
    try {
      decoder.decode(bytes.subarray(0, middle + 1), { stream: true })
      low = middle + 1
    } catch {
      high = middle
    }
  }
  return low
}

/** Bytes as printable text for messages: control characters escaped, broken bytes as U+FFFD, at most 120 characters. */
export function previewBytes(bytes: Uint8Array): string {
  const text = lenient.decode(bytes.subarray(0, 200))
  // eslint-disable-next-line no-control-regex
  const printable = text.replace(/[\u0000-\u001f\u007f]/g, (character) => JSON.stringify(character).slice(1, -1))
  return printable.length > 120 ? `${printable.slice(0, 120)}…` : printable
}
