import type { Tokenizer } from '@swift/spec'
import type { TokenSequence } from './token-sequence.ts'

/** Long documents are tokenised in pieces of about this many characters, in parallel and in bounded memory. */
const pieceCharacters = 64 * 1024

/** Texts whose line breaks would show a tokenizer that looks beyond them. */
const probes = ['a\nb', 'word\nWord', 'x.\n1 2', '“q”\n\n(y)'] as const

/**
 * Whether text may be cut after a line break without changing its tokens. True for byte-level tokenizers; not for those
 * that mark the beginning of a text.
 */
export function canCutAtLineBreaks(tokenizer: Tokenizer): boolean {
  const idsOf = (text: string): number[] => [...tokenizer.encode(text, { withOffsets: false }).ids]
  return probes.every((text) => {
    const cut = text.lastIndexOf('\n') + 1
    const joined = [...idsOf(text.slice(0, cut)), ...idsOf(text.slice(cut))]
    return JSON.stringify(idsOf(text)) === JSON.stringify(joined)
  })
}

/** Cuts a text after line breaks that are followed by no white space, into pieces of at least the given size. */
export function cutAtLineBreaks(text: string, minimumCharacters: number = pieceCharacters): string[] {
  const pieces: string[] = []
  const boundary = /\n(?=\S)/g
  let start = 0
  for (;;) {
    boundary.lastIndex = start + minimumCharacters
    const match = boundary.lastIndex < text.length ? boundary.exec(text) : null
    if (match === null) break
    pieces.push(text.slice(start, match.index + 1))
    start = match.index + 1
  }
  pieces.push(text.slice(start))
  return pieces
}

/** Whether the tokenizer begins every text with its BOS token when asked for special tokens. */
export function addsBos(tokenizer: Tokenizer): boolean {
  return (
    tokenizer.bosTokenId !== undefined &&
    tokenizer.encode('a', { addSpecialTokens: true, withOffsets: false }).ids[0] === tokenizer.bosTokenId
  )
}

/** Encodes documents: BOS where the tokenizer writes one, the text, EOS where there is one; every token is trained. */
export async function encodeDocuments(texts: readonly string[], tokenizer: Tokenizer): Promise<TokenSequence[]> {
  const isCut = texts.some((text) => text.length > pieceCharacters) && canCutAtLineBreaks(tokenizer)
  const pieces = texts.map((text) => (isCut ? cutAtLineBreaks(text) : [text]))
  const encodings = await tokenizer.encodeBatch(pieces.flat(), { withOffsets: false })
  const { bosTokenId, eosTokenId } = tokenizer
  const head = bosTokenId !== undefined && addsBos(tokenizer) ? [bosTokenId] : []
  const tail = eosTokenId === undefined ? [] : [eosTokenId]
  let next = 0
  return pieces.map((parts) => {
    const encoded = encodings.slice(next, next + parts.length)
    next += parts.length
    const length = encoded.reduce((sum, { ids }) => sum + ids.length, head.length + tail.length)
    const ids = new Int32Array(length)
    ids.set(head)
    let start = head.length
    for (const encoding of encoded) {
      ids.set(encoding.ids, start)
      start += encoding.ids.length
    }
    ids.set(tail, start)
    const trained = new Uint8Array(length).fill(1)
    if (length > 0) trained[0] = 0
    return { ids, trained, weights: undefined }
  })
}
