import { trainByteLevelTokenizer } from '@swift/models'
import { Corpus } from './corpus.ts'
import { recipe } from './recipe.ts'
import { special } from './special-tokens.ts'
import type { World } from './world.ts'

/** Trains the tokenizer on the first documents of the corpus; `tokenizer.json` as text. */
export function tokenizerText(world: World): string {
  const corpus = new Corpus(world)
  const marks = new RegExp(
    Object.values(special)
      .map((mark) => mark.replaceAll('|', String.raw`\|`))
      .join('|'),
    'gu',
  )
  const texts = Array.from({ length: recipe.tokenizerDocuments }, (_, index) =>
    corpus.document(index).replaceAll(marks, '\n'),
  )
  return trainByteLevelTokenizer(texts, {
    vocabularySize: recipe.vocabularySize,
    specialTokens: Object.values(special),
  })
}

interface TokenizerJson {
  readonly model: { readonly vocab: Readonly<Record<string, number>> }
  readonly added_tokens: readonly { readonly id: number; readonly content: string }[]
}

/** Number of ids in a `tokenizer.json`, and the id of each special token. */
export function readSpecialIds(tokenizerJson: string): {
  readonly size: number
  readonly tokenId: (text: string) => number
} {
  const { model, added_tokens: added } = JSON.parse(tokenizerJson) as TokenizerJson
  const ids = new Map(added.map(({ id, content }) => [content, id]))
  return {
    size: new Set([...Object.values(model.vocab), ...ids.values()]).size,
    tokenId: (text) => {
      const id = ids.get(text)
      if (id === undefined) throw new Error(`the tokenizer has no special token ${text}`)
      return id
    },
  }
}
