import type { CounterRandom } from './counter-random.ts'
import { createCounterRandom } from './counter-random.ts'
import { peopleRelations } from './relations-people.ts'
import { natureRelations } from './relations-nature.ts'
import { numberRelations } from './relations-numbers.ts'
import { wordRelations } from './relations-words.ts'
import type { Relation } from './relation.ts'

/** Everything that is true in the small world: the valley, its people and towns, plain nature, words and numbers. */
export interface World {
  readonly seed: number
  readonly relations: readonly Relation[]
}

/** Makes the world of a seed. The same seed gives the same world everywhere. */
export function makeWorld(seed: number): World {
  const random = (name: string): CounterRandom => createCounterRandom(seed, `world/${name}`)
  return {
    seed,
    relations: [
      ...peopleRelations(random('people')),
      ...natureRelations(),
      ...wordRelations(random('velmish')),
      ...numberRelations(),
    ],
  }
}
