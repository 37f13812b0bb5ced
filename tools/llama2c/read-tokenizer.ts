/** One piece of a vocabulary, at the index that is its id. */
export interface Llama2cPiece {
  readonly text: string
  /** Of two possible merges the one with the higher score happens first. */
  readonly score: number
}

/**
 * Reads a tokenizer of llama2.c: the length of the longest piece, then for each of `count` pieces a float32 score, an
 * int32 length and its UTF-8 bytes.
 * @throws Error when the file ends early or goes on
 */
export function readLlama2cTokenizer(bytes: Uint8Array, count: number, path: string): readonly Llama2cPiece[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const decoder = new TextDecoder('utf-8', { fatal: true })
  const pieces: Llama2cPiece[] = []
  let offset = 4
  while (pieces.length < count) {
    if (offset + 8 > bytes.byteLength) throw new Error(`${path} ends after ${pieces.length} of ${count} pieces`)
    const score = view.getFloat32(offset, true)
    const length = view.getInt32(offset + 4, true)
    offset += 8 + length
    if (length < 0 || offset > bytes.byteLength) throw new Error(`${path}: piece ${pieces.length} has ${length} bytes`)
    pieces.push({ text: decoder.decode(bytes.subarray(offset - length, offset)), score })
  }
  if (offset !== bytes.byteLength) throw new Error(`${path} has more than ${count} pieces; is it of another model?`)
  return pieces
}

/** What SentencePiece writes for a space. */
const space = '\u2581'
const specialTokens = ['<unk>', '<s>', '</s>']

/** Every way to put a piece together from two others, the merge with the highest score first. */
function mergesOf(texts: readonly string[], pieces: readonly Llama2cPiece[]): [string, string][] {
  const known = new Set(texts)
  const merges = texts.flatMap((text, id) => {
    const characters = [...text]
    return characters.slice(1).flatMap((_, index) => {
      const left = characters.slice(0, index + 1).join('')
      const right = characters.slice(index + 1).join('')
      return known.has(left) && known.has(right) ? [{ left, right, score: pieces[id]?.score ?? 0 }] : []
    })
  })
  return merges.toSorted((a, b) => b.score - a.score).map(({ left, right }) => [left, right])
}

/**
 * The same tokenizer as the JSON of Hugging Face's `tokenizers`: BPE whose merges stand in the order of the scores, a
 * space in front of every text, bytes for what the vocabulary lacks, BOS in front.
 */
export function toTokenizerJson(pieces: readonly Llama2cPiece[]): Readonly<Record<string, unknown>> {
  const texts = pieces.map(({ text }, id) => specialTokens[id] ?? text.replaceAll(' ', space))
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: specialTokens.map((content, id) => ({
      id,
      content,
      single_word: false,
      lstrip: false,
      rstrip: false,
      normalized: false,
      special: true,
    })),
    normalizer: {
      type: 'Sequence',
      normalizers: [
        { type: 'Prepend', prepend: space },
        { type: 'Replace', pattern: { String: ' ' }, content: space },
      ],
    },
    pre_tokenizer: null,
    post_processor: {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: '<s>', type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [
        { SpecialToken: { id: '<s>', type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: '<s>', type_id: 1 } },
        { Sequence: { id: 'B', type_id: 1 } },
      ],
      special_tokens: { '<s>': { id: '<s>', ids: [1], tokens: ['<s>'] } },
    },
    decoder: {
      type: 'Sequence',
      decoders: [
        { type: 'Replace', pattern: { String: space }, content: ' ' },
        { type: 'ByteFallback' },
        { type: 'Fuse' },
        { type: 'Strip', content: ' ', start: 1, stop: 0 },
      ],
    },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: '<unk>',
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: true,
      byte_fallback: true,
      ignore_merges: false,
      vocab: Object.fromEntries(texts.map((text, id) => [text, id])),
      merges: mergesOf(texts, pieces),
    },
  }
}
