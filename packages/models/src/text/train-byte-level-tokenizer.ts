import { trainByteLevelTokenizer as trainNative } from '@swift/kernels'
import { callNative } from './native-error.ts'

/** How a byte-level BPE is trained. */
export interface TrainTokenizerOptions {
  /** Tokens in all: 256 bytes, merges and special tokens; fewer where the corpus gives no more merges. */
  readonly vocabularySize: number
  /** Get the last ids, in this order. Default none. */
  readonly specialTokens?: readonly string[]
  /** Pairs seen less often are not merged. Default 2. */
  readonly minFrequency?: number
  /** How text is cut into words: as Qwen2 (NFC, single digits) or as GPT-2. Default `qwen2`. */
  readonly splitRule?: 'qwen2' | 'gpt2'
}

/**
 * Trains a byte-level BPE and returns its `tokenizer.json` text. Runs on the calling thread.
 * @throws SwiftError `ERR_TOKENIZER_TRAIN` for an empty corpus or a vocabulary without room for the 256 bytes.
 */
export function trainByteLevelTokenizer(
  texts: readonly string[],
  { vocabularySize, specialTokens = [], minFrequency = 2, splitRule = 'qwen2' }: TrainTokenizerOptions,
): string {
  return callNative(
    {
      code: 'ERR_TOKENIZER_TRAIN',
      asked: `Training a tokenizer of ${vocabularySize} tokens on ${texts.length} texts`,
      remedy: 'Give text to train on and a vocabulary of at least 256 plus the special tokens.',
    },
    () => trainNative([...texts], { vocabularySize, minFrequency, specialTokens: [...specialTokens], splitRule }),
  )
}
