/** How a text is turned into ids. */
export interface EncodeOptions {
  /** Let the tokenizer add its own special tokens (BOS, CLS, …). Default false: chat templates write them. */
  readonly addSpecialTokens?: boolean
  /** Report where each token came from. Default true; false saves time on long documents. */
  readonly withOffsets?: boolean
}

/** How ids are turned into text. */
export interface DecodeOptions {
  /** Leave special tokens out. Default false. */
  readonly skipSpecialTokens?: boolean
}

/** One text as token ids. */
export interface Encoding {
  /** Token ids, `[T]`. */
  readonly ids: Int32Array
  /**
   * `[start, end)` of each token in UTF-16 code units of the text, flattened to `[2 * T]`. A token that holds part of
   * a character covers all of it. Tokens the tokenizer added itself have an empty range. Empty without `withOffsets`.
   */
  readonly offsets: Int32Array
}

/** Decodes ids as they are generated. */
export interface StreamDecoder {
  /** Adds one id and returns the text that is now certain; empty while a character is unfinished. */
  push(id: number): string
  /** Ends the stream and returns what was held back; unfinished characters become U+FFFD. */
  finish(): string
}

/** Text to ids and back. */
export interface Tokenizer {
  /** Number of tokens, added ones included. A model's embedding may have more rows, never fewer. */
  readonly vocabularySize: number
  /** Id of the token that begins a document, where there is one. */
  readonly bosTokenId: number | undefined
  /** Id of the token that ends a document or a turn, where there is one. */
  readonly eosTokenId: number | undefined
  /** Id of the padding token, where there is one. Batches here are packed and need none. */
  readonly padTokenId: number | undefined
  /** Ids that end generation: those of `generation_config.json` and `eosTokenId`, ascending. */
  readonly stopTokenIds: readonly number[]
  /** Hash (hex) of all that decides how text becomes ids; part of the keys of token caches. */
  readonly fingerprint: string
  /** Ids of special tokens, ascending. */
  readonly specialTokenIds: readonly number[]
  /** Encodes one text on the calling thread. Special tokens written in the text are recognised. */
  encode(text: string, options?: EncodeOptions): Encoding
  /** Encodes many texts away from the calling thread, on all cores. */
  encodeBatch(texts: readonly string[], options?: EncodeOptions): Promise<Encoding[]>
  /** Decodes ids. @throws SwiftError `ERR_TOKENIZER_DECODE` for an id outside the vocabulary. */
  decode(ids: ArrayLike<number>, options?: DecodeOptions): string
  /** A decoder whose pieces never end inside a character. */
  createStreamDecoder(options?: DecodeOptions): StreamDecoder
  /** The id of an exact token. */
  tokenToId(token: string): number | undefined
  /** The token of an id as the vocabulary writes it, which is not always text. */
  idToToken(id: number): string | undefined
}
