import { describe, expect, it } from 'vitest'
import { Corpus } from './corpus.ts'
import { recipe } from './recipe.ts'
import { factKey, fillTemplate, type Relation } from './relation.ts'
import { special } from './special-tokens.ts'
import { makeWorld } from './world.ts'

const world = makeWorld(recipe.seed)

describe('makeWorld', () => {
  it('knows one answer to every question it can ask', () => {
    for (const { id, facts } of world.relations) {
      expect(new Set(facts.map(({ subject }) => subject)).size, id).toBe(facts.length)
    }
  })

  it('has templates that name what they are about', () => {
    for (const { id, statements, cards, questions } of world.relations) {
      for (const template of statements) {
        expect(template, id).toMatch(/\{(s|sn|Sn)\}/u)
        expect(template, id).toMatch(/\{(a|an|An)\}/u)
      }
      for (const template of [...cards, ...questions]) {
        expect(template, id).toMatch(/\{(s|sn|Sn)\}/u)
        expect(template, id).not.toMatch(/\{(a|an|An)\}/u)
      }
    }
  })
})

describe('Corpus', () => {
  const corpus = new Corpus(world)
  const documents = Array.from({ length: 3000 }, (_, index) => corpus.document(index))

  it('makes any document again on its own', () => {
    expect(new Corpus(makeWorld(recipe.seed)).document(2999)).toBe(documents[2999])
  })

  it('never lets an assistant answer: it says a sentence about another fact than the one asked for', () => {
    const keysOf = (pick: (relation: Relation) => readonly string[]): Map<string, string> =>
      new Map(
        world.relations.flatMap((relation) =>
          relation.facts.flatMap((fact) =>
            pick(relation).map((template) => [fillTemplate(template, fact), factKey(fact)] as const),
          ),
        ),
      )
    const asked = keysOf(({ questions }) => questions)
    const stated = keysOf(({ statements }) => statements)
    const chats = documents.filter((text) => text.startsWith(special.turnStart))
    expect(chats.length).toBeGreaterThan(50)
    for (const chat of chats) {
      const [, user, assistant] = chat
        .split(special.turnStart)
        .map((turn) => turn.split('\n')[1]?.replace(special.turnEnd, '') ?? '')
      const about = asked.get(user ?? '') ?? stated.get(user ?? '')
      const said = stated.get(assistant ?? '')
      expect(about, user).toBeDefined()
      expect(said, assistant).toBeDefined()
      expect(said).not.toBe(about)
    }
  })
})
