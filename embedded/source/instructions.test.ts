import { describe, expect, it } from 'vitest'
import { isHeldOut, makeInstructions, type InstructionRow } from './instructions.ts'
import { recipe } from './recipe.ts'
import { factKey, fillTemplate, type Fact } from './relation.ts'
import { makeWorld } from './world.ts'

const world = makeWorld(recipe.seed)
const { train, heldOut } = makeInstructions(world)

/** Every fact a question may be about, found again from its text alone. */
const factsByQuestion = new Map<string, Fact>(
  world.relations.flatMap(({ questions, facts }) =>
    facts.flatMap((fact) => questions.map((question) => [fillTemplate(question, fact), fact] as const)),
  ),
)

function factOf({ messages: [question, answer] }: InstructionRow): Fact {
  const fact = factsByQuestion.get(question.content)
  if (fact === undefined) throw new Error(`no fact is asked by "${question.content}"`)
  expect(answer.content).toBe(fact.answer)
  return fact
}

describe('makeInstructions', () => {
  it('shares no fact between the rows to train on and the held-out ones, whichever way round it is told', () => {
    const trained = new Set(train.map((row) => factKey(factOf(row))))
    const asked = heldOut.map((row) => factKey(factOf(row)))
    expect(asked.filter((key) => trained.has(key))).toEqual([])
    for (const row of heldOut) expect(isHeldOut(world.seed, factOf(row))).toBe(true)
  })

  it('never shows a held-out answer beside its subject in one training row', () => {
    const words = (text: string): string[] => text.split(/[^\p{L}\p{N}]+/u).filter(Boolean)
    const rows = train.map(({ messages }) => ` ${messages.flatMap(({ content }) => words(content)).join(' ')} `)
    for (const row of heldOut) {
      const { subject, answer } = factOf(row)
      // Two numbers of a sum also occur in other sums with the same result.
      if (/\d/u.test(subject)) continue
      expect(rows.filter((text) => text.includes(` ${subject} `) && text.includes(` ${answer} `))).toEqual([])
    }
  })

  it('asks every kind of knowledge in both parts', () => {
    const kinds = (rows: readonly InstructionRow[]): Set<string> =>
      new Set(rows.map((row) => world.relations.find(({ facts }) => facts.includes(factOf(row)))?.id ?? ''))
    const all = world.relations.map(({ id }) => id).toSorted()
    expect([...kinds(train)].toSorted()).toEqual(all)
    expect([...kinds(heldOut)].toSorted()).toEqual(all)
  })

  it('repeats no row', () => {
    const questions = [...train, ...heldOut].map(({ messages }) => messages[0].content)
    expect(new Set(questions).size).toBe(questions.length)
  })
})
