import { createHash } from 'node:crypto'
import type { NativeStreamDecoder, NativeTokenizer } from '@swift/kernels'
import type { DecodeOptions, EncodeOptions, Encoding, StreamDecoder, Tokenizer } from '@swift/spec'
import { callNative, toSwiftError, type NativeCall } from './native-error.ts'

/** What a tokenizer's own file does not say. */
export interface TokenizerRoles {
  readonly bosToken?: string | undefined
  readonly eosToken?: string | undefined
  readonly padToken?: string | undefined
  /** Further ids that end generation. */
  readonly stopTokenIds?: readonly number[]
}

const encodeCall: NativeCall = {
  code: 'ERR_TOKENIZER_ENCODE',
  asked: 'Encoding text',
  remedy: 'Check that the text is a string and that the tokenizer knows a token for unknown text.',
}

const decodeCall: NativeCall = {
  code: 'ERR_TOKENIZER_DECODE',
  asked: 'Decoding token ids',
  remedy:
    'Check that the ids come from a model with this tokenizer; its embedding may have more rows than there are tokens.',
}

class NativeBackedStreamDecoder implements StreamDecoder {
  readonly #native: NativeStreamDecoder

  constructor(native: NativeStreamDecoder) {
    this.#native = native
  }

  push(id: number): string {
    return callNative(decodeCall, () => this.#native.push(id))
  }

  finish(): string {
    return callNative(decodeCall, () => this.#native.finish())
  }
}

/** A tokenizer held by the native side, with the roles its model gives to tokens. */
export class TextTokenizer implements Tokenizer {
  readonly vocabularySize: number
  readonly bosTokenId: number | undefined
  readonly eosTokenId: number | undefined
  readonly padTokenId: number | undefined
  readonly stopTokenIds: readonly number[]
  readonly specialTokenIds: readonly number[]
  readonly fingerprint: string
  readonly roles: TokenizerRoles
  readonly #native: NativeTokenizer

  /** `contentHash` is a hash of the files the native tokenizer was made from. */
  constructor(native: NativeTokenizer, contentHash: string, roles: TokenizerRoles = {}) {
    this.#native = native
    this.roles = roles
    this.vocabularySize = native.vocabularySize
    this.bosTokenId = this.#idOf(roles.bosToken)
    this.eosTokenId = this.#idOf(roles.eosToken)
    this.padTokenId = this.#idOf(roles.padToken)
    const stops = new Set(roles.stopTokenIds ?? [])
    if (this.eosTokenId !== undefined) stops.add(this.eosTokenId)
    this.stopTokenIds = [...stops].toSorted((left, right) => left - right)
    this.specialTokenIds = [...native.specialTokenIds()]
    const identity = [contentHash, this.bosTokenId ?? null, this.eosTokenId ?? null, this.stopTokenIds]
    this.fingerprint = createHash('sha256').update(JSON.stringify(identity)).digest('hex')
  }

  encode(text: string, { addSpecialTokens = false, withOffsets = true }: EncodeOptions = {}): Encoding {
    return callNative(encodeCall, () => this.#native.encode(text, addSpecialTokens, withOffsets))
  }

  async encodeBatch(
    texts: readonly string[],
    { addSpecialTokens = false, withOffsets = true }: EncodeOptions = {},
  ): Promise<Encoding[]> {
    try {
      const batch = await this.#native.encodeBatch([...texts], addSpecialTokens, withOffsets)
      let start = 0
      return Array.from(batch.lengths, (length) => {
        const ids = batch.ids.subarray(start, start + length)
        const offsets = withOffsets ? batch.offsets.subarray(2 * start, 2 * (start + length)) : new Int32Array(0)
        start += length
        return { ids, offsets }
      })
    } catch (error) {
      throw toSwiftError(error, encodeCall)
    }
  }

  decode(ids: ArrayLike<number>, { skipSpecialTokens = false }: DecodeOptions = {}): string {
    const typed = ids instanceof Int32Array ? ids : Int32Array.from(ids)
    return callNative(decodeCall, () => this.#native.decode(typed, skipSpecialTokens))
  }

  createStreamDecoder({ skipSpecialTokens = false }: DecodeOptions = {}): StreamDecoder {
    return new NativeBackedStreamDecoder(this.#native.streamDecoder(skipSpecialTokens))
  }

  tokenToId(token: string): number | undefined {
    return this.#native.tokenToId(token) ?? undefined
  }

  idToToken(id: number): string | undefined {
    return this.#native.idToToken(id) ?? undefined
  }

  /** The tokenizer as `tokenizer.json` text, to save beside a model. */
  toJson(): string {
    return callNative(
      { code: 'ERR_TOKENIZER_LOAD', asked: 'Writing a tokenizer as JSON', remedy: 'Copy the original files instead.' },
      () => this.#native.toJson(),
    )
  }

  #idOf(token: string | undefined): number | undefined {
    return token === undefined ? undefined : this.tokenToId(token)
  }
}
