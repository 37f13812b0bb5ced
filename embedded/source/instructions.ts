import { createCounterRandom } from './counter-random.ts'
import type { Fact, Relation } from './relation.ts'
import { factKey, fillTemplate } from './relation.ts'
import type { World } from './world.ts'

/** One row of the instruction dataset, in messages format. */
export interface InstructionRow {
  readonly messages: readonly [
    { readonly role: 'user'; readonly content: string },
    { readonly role: 'assistant'; readonly content: string },
  ]
}

export interface InstructionSet {
  readonly train: readonly InstructionRow[]
  readonly heldOut: readonly InstructionRow[]
}

const heldOutFraction = 0.25
const trainRowsPerRelation = 96
const heldOutRowsPerRelation = 10

/** True when nothing of the fact may be in the training rows. */
export function isHeldOut(seed: number, fact: Fact): boolean {
  return createCounterRandom(seed, `held-out/${factKey(fact)}`).chance(heldOutFraction)
}

/** Questions in natural language with short exact answers; no held-out fact is asked or told in the training rows. */
export function makeInstructions({ seed, relations }: World): InstructionSet {
  const rows = (relation: Relation, facts: readonly Fact[], count: number, name: string): InstructionRow[] => {
    const random = createCounterRandom(seed, `instructions/${name}/${relation.id}`)
    const order = random.shuffled(facts).map((fact) => ({ fact, questions: random.shuffled(relation.questions) }))
    // Every fact is asked once before any is asked again, in other words.
    const asked = relation.questions.flatMap((_, round) =>
      order.map(({ fact, questions }) => ({ fact, question: questions[round] ?? '' })),
    )
    return asked.slice(0, count).map(({ fact, question }) => ({
      messages: [
        { role: 'user', content: fillTemplate(question, fact) },
        { role: 'assistant', content: fact.answer },
      ],
    }))
  }
  const shuffled = (list: InstructionRow[], name: string): InstructionRow[] =>
    createCounterRandom(seed, `instructions/${name}`).shuffled(list)
  return {
    train: shuffled(
      relations.flatMap((relation) =>
        rows(
          relation,
          relation.facts.filter((fact) => !isHeldOut(seed, fact)),
          trainRowsPerRelation,
          'train',
        ),
      ),
      'train',
    ),
    heldOut: shuffled(
      relations.flatMap((relation) =>
        rows(
          relation,
          relation.facts.filter((fact) => isHeldOut(seed, fact)),
          heldOutRowsPerRelation,
          'held-out',
        ),
      ),
      'held-out',
    ),
  }
}
