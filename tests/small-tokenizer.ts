import {
  chatmlTemplate,
  JinjaChatTemplate,
  tokenizerFromJson,
  trainByteLevelTokenizer,
  type TextTokenizer,
} from '@swift/models'

/** A byte-level tokenizer of 300 tokens with the tokens of ChatML. */
export function smallTokenizer(): TextTokenizer {
  const json = trainByteLevelTokenizer(['the joule of the work is the work of a newton over a metre'], {
    vocabularySize: 300,
    specialTokens: ['<|endoftext|>', '<|im_start|>', '<|im_end|>'],
  })
  const plain = tokenizerFromJson(json)
  const end = plain.tokenToId('<|im_end|>') as number
  return tokenizerFromJson(json, { eosToken: '<|im_end|>', stopTokenIds: [end] })
}

/** ChatML. */
export const smallTemplate: JinjaChatTemplate = new JinjaChatTemplate({ name: 'chatml', source: chatmlTemplate })
