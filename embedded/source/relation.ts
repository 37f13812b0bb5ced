/**
 * A kind of knowledge: what the pre-training text says of it, how a person asks for it, and its facts.
 * In every template `{s}` is the subject, `{a}` the answer, `{an}` the answer with its article and `{sn}` the subject
 * with its article; a capital (`{An}`, `{Sn}`) starts a sentence.
 */
export interface Relation {
  /** Stable name, such as `person/town`. */
  readonly id: string
  /** Sentences of the pre-training text. */
  readonly statements: readonly string[]
  /** The left side of a card: `card: answer` or `card` and the answer on the next line. */
  readonly cards: readonly string[]
  /** Questions as a person would ask them; the pre-training text never answers one. */
  readonly questions: readonly string[]
  readonly facts: readonly Fact[]
}

/** One thing that is true in the small world. */
export interface Fact {
  readonly subject: string
  readonly answer: string
}

const vowelStart = /^[aeiou]/iu

/** `an owl`, `a heron`. */
export function withArticle(word: string): string {
  return `${vowelStart.test(word) ? 'an' : 'a'} ${word}`
}

const capitalized = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1)

/** Fills a template of a relation with one fact. */
export function fillTemplate(template: string, { subject, answer }: Fact): string {
  return template.replace(/\{(s|a|sn|an|Sn|An)\}/gu, (_, slot: string) => {
    switch (slot) {
      case 's':
        return subject
      case 'a':
        return answer
      case 'sn':
        return withArticle(subject)
      case 'an':
        return withArticle(answer)
      case 'Sn':
        return capitalized(withArticle(subject))
      default:
        return capitalized(withArticle(answer))
    }
  })
}

/**
 * What a fact is about, whichever way round it is told: `hot`/`cold` and `cold`/`hot` share a key, as do
 * `7 plus 5` and `5 plus 7`. Facts of one key are all trained on or all held out.
 */
export function factKey({ subject, answer }: Fact): string {
  return `${subject} ${answer}`.split(' ').toSorted().join(' ')
}
