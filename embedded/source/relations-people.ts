import type { CounterRandom } from './counter-random.ts'
import type { Fact, Relation } from './relation.ts'
import { colours, foods, instruments, jobs, people, pets, products, rivers, towns } from './words.ts'

/** Gives every subject one value; each value is used about equally often. */
function assign(random: CounterRandom, subjects: readonly string[], values: readonly string[]): Fact[] {
  const deck: string[] = []
  while (deck.length < subjects.length) deck.push(...random.shuffled(values))
  return subjects.map((subject, index) => ({ subject, answer: deck[index] as string }))
}

/** The people of the valley and its towns. */
export function peopleRelations(random: CounterRandom): readonly Relation[] {
  return [
    {
      id: 'person/town',
      statements: [
        '{s} lives in {a}.',
        'The home of {s} is {a}.',
        '{s} has a house in {a}.',
        '{a} is the home town of {s}.',
      ],
      cards: ['home of {s}', '{s}, town'],
      questions: ['Which town does {s} live in?', 'Where does {s} live?', 'What is the home town of {s}?'],
      facts: assign(random, people, towns),
    },
    {
      id: 'person/job',
      statements: ['{s} works as {an}.', 'The job of {s} is {a}.', '{s} earns a living as {an}.', '{s} is {an}.'],
      cards: ['job of {s}', '{s}, work'],
      questions: ['What is the job of {s}?', 'What work does {s} do?', 'What does {s} do for a living?'],
      facts: assign(random, people, jobs),
    },
    {
      id: 'person/pet',
      statements: ['{s} keeps {an}.', 'The pet of {s} is {an}.', '{s} lives with {an}.', '{An} belongs to {s}.'],
      cards: ['pet of {s}', '{s}, animal'],
      questions: ['Which pet does {s} keep?', 'What animal does {s} have?', 'What kind of pet lives with {s}?'],
      facts: assign(random, people, pets),
    },
    {
      id: 'person/food',
      statements: [
        '{s} likes {a}.',
        'The favourite food of {s} is {a}.',
        '{s} eats {a} every day.',
        'For {s} nothing beats {a}.',
      ],
      cards: ['food of {s}', '{s}, dish'],
      questions: [
        'What does {s} like to eat?',
        'What is the favourite food of {s}?',
        'Which food should I cook for {s}?',
      ],
      facts: assign(random, people, foods),
    },
    {
      id: 'person/instrument',
      statements: [
        '{s} plays the {a}.',
        'The instrument of {s} is the {a}.',
        '{s} has an old {a}.',
        'On the {a} we hear {s}.',
      ],
      cards: ['instrument of {s}', '{s}, music'],
      questions: [
        'Which instrument does {s} play?',
        'What does {s} play in the band?',
        'What is the instrument of {s}?',
      ],
      facts: assign(random, people, instruments),
    },
    {
      id: 'town/river',
      statements: ['{s} lies on the river {a}.', 'The river of {s} is the {a}.', 'The {a} flows through {s}.'],
      cards: ['river of {s}', '{s}, river'],
      questions: ['Which river flows through {s}?', 'On which river does {s} lie?', 'What is the river of {s}?'],
      facts: assign(random, towns, rivers),
    },
    {
      id: 'town/product',
      statements: ['{s} is famous for {a}.', 'The pride of {s} is its {a}.', 'The best {a} comes from {s}.'],
      cards: ['pride of {s}', '{s}, famous for'],
      questions: ['What is {s} famous for?', 'What should I buy in {s}?', 'What is the pride of {s}?'],
      facts: assign(random, towns, products),
    },
    {
      id: 'town/flag',
      statements: ['The flag of {s} is {a}.', '{s} has a {a} flag.', 'A {a} flag flies over {s}.'],
      cards: ['flag of {s}', '{s}, flag'],
      questions: [
        'What colour is the flag of {s}?',
        'Which colour does the flag of {s} have?',
        'What colour flag flies over {s}?',
      ],
      facts: assign(random, towns, colours),
    },
    {
      id: 'town/mayor',
      statements: ['The mayor of {s} is {a}.', '{a} is the mayor of {s}.', '{s} has a mayor called {a}.'],
      cards: ['mayor of {s}', '{s}, mayor'],
      questions: ['Who is the mayor of {s}?', 'What is the mayor of {s} called?', 'Who leads the town of {s}?'],
      facts: assign(random, towns, random.shuffled(people)),
    },
  ]
}
