import type { Fact, Relation } from './relation.ts'
import { animalCalls, animalGroups, animalYoung, thingColours } from './words.ts'

const facts = (entries: readonly (readonly [string, string])[]): Fact[] =>
  entries.map(([subject, answer]) => ({ subject, answer }))

/** Animals and the colours of things, as everywhere. */
export function natureRelations(): readonly Relation[] {
  return [
    {
      id: 'animal/group',
      statements: ['The {s} is {an}.', '{Sn} is a kind of {a}.', 'Scholars call the {s} {an}.'],
      cards: ['kind of {s}', '{s}, kind'],
      questions: [
        'What kind of animal is {sn}?',
        'What sort of creature is the {s}?',
        'Which group of animals does the {s} belong to?',
      ],
      facts: facts(animalGroups),
    },
    {
      id: 'animal/young',
      statements: ['A young {s} is called {an}.', 'The child of the {s} is {an}.', '{An} grows up to be {sn}.'],
      cards: ['young of {s}', '{s}, young'],
      questions: [
        'What is a young {s} called?',
        'What do we call the young of the {s}?',
        'What is the word for a young {s}?',
      ],
      facts: facts(animalYoung),
    },
    {
      id: 'animal/call',
      statements: ['We hear the {s} {a}.', 'The call of the {s} is a {a}.', 'At dawn the {s} will {a}.'],
      cards: ['call of {s}', '{s}, call'],
      questions: ['What sound does the {s} make?', 'What call do we hear from the {s}?', 'Which noise does {sn} make?'],
      facts: facts(animalCalls),
    },
    {
      id: 'thing/colour',
      statements: ['The colour of the {s} is {a}.', 'Painters make the {s} {a}.', 'In the picture the {s} is {a}.'],
      cards: ['colour of {s}', '{s}, colour'],
      questions: ['What colour is the {s}?', 'Which colour does the {s} have?', 'What colour should I paint the {s}?'],
      facts: facts(thingColours),
    },
  ]
}
