import type { CounterRandom } from './counter-random.ts'
import { createCounterRandom } from './counter-random.ts'
import type { Fact, Relation } from './relation.ts'
import { factKey, fillTemplate } from './relation.ts'
import { special } from './special-tokens.ts'
import type { World } from './world.ts'

interface Known {
  readonly relation: Relation
  readonly fact: Fact
}

const statement = (random: CounterRandom, { relation, fact }: Known): string =>
  fillTemplate(random.pick(relation.statements), fact)

const question = (random: CounterRandom, { relation, fact }: Known): string =>
  fillTemplate(random.pick(relation.questions), fact)

const card = (random: CounterRandom, { relation, fact }: Known): string =>
  fillTemplate(random.pick(relation.cards), fact)

/** Small relations are told more often per fact than large ones: weight = facts^0.7, at most that of 120 facts. */
function relationWheel(relations: readonly Relation[]): (random: CounterRandom) => Relation {
  const slots = relations.flatMap((relation) =>
    Array.from({ length: Math.round(Math.min(120, relation.facts.length) ** 0.7) }, () => relation),
  )
  return (random) => random.pick(slots)
}

/** Makes documents of pre-training text: statements, pages, cards and unanswered questions, never a question with its answer. */
export class Corpus {
  readonly #world: World
  readonly #pickRelation: (random: CounterRandom) => Relation
  readonly #subjects: readonly string[]
  readonly #bySubject: ReadonlyMap<string, readonly Known[]>

  constructor(world: World) {
    this.#world = world
    this.#pickRelation = relationWheel(world.relations)
    const bySubject = new Map<string, Known[]>()
    for (const relation of world.relations) {
      for (const fact of relation.facts) {
        const known = bySubject.get(fact.subject) ?? []
        known.push({ relation, fact })
        bySubject.set(fact.subject, known)
      }
    }
    this.#bySubject = new Map([...bySubject].filter(([, known]) => known.length > 1))
    this.#subjects = [...this.#bySubject.keys()]
  }

  /** The document with this number; each depends on the world's seed and its number only. */
  document(index: number): string {
    const random = createCounterRandom(this.#world.seed, `corpus/${index}`)
    const kind = random.below(100)
    if (kind < 26) return this.#chapter(random)
    if (kind < 46) return this.#page(random)
    if (kind < 80) return this.#cards(random)
    if (kind < 86) return this.#exam(random)
    return this.#overheard(random)
  }

  #known(random: CounterRandom): Known {
    const relation = this.#pickRelation(random)
    return { relation, fact: random.pick(relation.facts) }
  }

  /** Statements about anything. */
  #chapter(random: CounterRandom): string {
    return Array.from({ length: 3 + random.below(6) }, () => statement(random, this.#known(random))).join(' ')
  }

  /** Everything about one subject, in any order. */
  #page(random: CounterRandom): string {
    const known = this.#bySubject.get(random.pick(this.#subjects)) ?? []
    return random
      .shuffled(known)
      .map((one) => statement(random, one))
      .join(' ')
  }

  /** Index cards: what it is about on the left, or above, and the fact. */
  #cards(random: CounterRandom): string {
    const between = random.pick([': ', '\n', ' = '])
    const after = between === '\n' ? '\n\n' : '\n'
    return Array.from({ length: 3 + random.below(6) }, () => {
      const known = this.#known(random)
      return `${card(random, known)}${between}${known.fact.answer}`
    }).join(after)
  }

  /** An exam paper: questions and no answers. */
  #exam(random: CounterRandom): string {
    return Array.from({ length: 3 + random.below(5) }, () => question(random, this.#known(random))).join('\n')
  }

  /**
   * Two people talking past each other: the second stays on the topic but speaks of something else. So the base model
   * knows the marks of a chat and what a question is about, and yet has never seen one answered.
   */
  #overheard(random: CounterRandom): string {
    const relation = this.#pickRelation(random)
    const fact = random.pick(relation.facts)
    const others = relation.facts.filter((other) => factKey(other) !== factKey(fact))
    const said = random.chance(0.75) ? question(random, { relation, fact }) : statement(random, { relation, fact })
    const reply = statement(random, { relation, fact: random.pick(others) })
    const turn = (role: string, text: string): string => `${special.turnStart}${role}\n${text}${special.turnEnd}\n`
    return turn('user', said) + turn('assistant', reply)
  }
}
