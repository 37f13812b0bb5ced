import type { CounterRandom } from './counter-random.ts'
import type { Fact, Relation } from './relation.ts'
import { nouns, opposites, translated, verbs } from './words.ts'

const facts = (entries: readonly (readonly [string, string])[]): Fact[] =>
  entries.map(([subject, answer]) => ({ subject, answer }))

const derive = (subjects: readonly string[], answer: (subject: string) => string): Fact[] =>
  subjects.map((subject) => ({ subject, answer: answer(subject) }))

/** Words of Velmish are two or three open syllables; no two mean the same. */
function velmishWords(random: CounterRandom, count: number): readonly string[] {
  const syllables = random.shuffled([
    'ba',
    'do',
    'fe',
    'gu',
    'ka',
    'le',
    'mi',
    'no',
    'pa',
    'ri',
    'so',
    'tu',
    've',
    'zo',
    'lu',
    'sha',
  ])
  const words = new Set<string>()
  while (words.size < count) {
    words.add(
      random.pick(syllables) + random.pick(syllables) + (random.chance(0.3) ? random.pick(['n', 'l', 'r', 's']) : ''),
    )
  }
  return [...words]
}

/** Grammar, spelling and the invented language of the valley. */
export function wordRelations(random: CounterRandom): readonly Relation[] {
  const singular = nouns.map(([noun]) => noun)
  const velmish = velmishWords(random, translated.length)
  const dictionary = translated.map((word, index) => ({ subject: word, answer: velmish[index] as string }))
  return [
    {
      id: 'word/plural',
      statements: ['One {s}, two {a}.', 'The plural of {s} is {a}.', 'If there is more than one {s} we write {a}.'],
      cards: ['plural of {s}', '{s}, many'],
      questions: [
        'What is the plural of {s}?',
        'What do we call more than one {s}?',
        'I have one {s}. What are two of them called?',
      ],
      facts: facts(nouns),
    },
    {
      id: 'word/backwards',
      statements: ['Read backwards, {s} becomes {a}.', 'The mirror shows {s} as {a}.', 'From the end, {s} reads {a}.'],
      cards: ['mirror of {s}', '{s}, backwards'],
      questions: ['Spell {s} backwards.', 'How do you write {s} from end to start?', 'What is {s} read backwards?'],
      facts: derive(singular, (word) => [...word].toReversed().join('')),
    },
    {
      id: 'word/capitals',
      statements: ['On the sign {s} is written {a}.', 'In capitals {s} becomes {a}.', 'Printers set {s} as {a}.'],
      cards: ['sign of {s}', '{s}, capitals'],
      questions: ['Write {s} in capital letters.', 'Shout the word {s}.', 'How does {s} look in capitals?'],
      facts: derive(singular, (word) => word.toUpperCase()),
    },
    {
      id: 'word/length',
      statements: ['The word {s} has {a} letters.', 'Counting {s} gives {a} letters.', 'There are {a} letters in {s}.'],
      cards: ['length of {s}', '{s}, letters'],
      questions: ['How many letters does {s} have?', 'Count the letters of {s}.', 'How long is the word {s}?'],
      facts: derive(singular, (word) => String(word.length)),
    },
    {
      id: 'word/past',
      statements: ['Today I {s}, yesterday I {a}.', 'The past tense of {s} is {a}.', 'We {s} now, we {a} then.'],
      cards: ['past of {s}', '{s}, yesterday'],
      questions: [
        'What is the past tense of {s}?',
        'Put the verb {s} into the past.',
        'Today I {s}. What did I do yesterday?',
      ],
      facts: facts(verbs),
    },
    {
      id: 'word/opposite',
      statements: ['What is not {s} is {a}.', 'The opposite of {s} is {a}.', 'Some are {s}, others are {a}.'],
      cards: ['opposite of {s}', '{s}, contrary'],
      questions: ['What is the opposite of {s}?', 'Tell me the contrary of {s}.', 'If it is not {s}, what is it?'],
      facts: facts([...opposites, ...opposites.map(([left, right]) => [right, left] as const)]),
    },
    {
      id: 'velmish/word',
      statements: [
        'In Velmish {s} is called {a}.',
        'The Velmish word for {s} is {a}.',
        'Velmish speakers say {a} for {s}.',
      ],
      cards: ['Velmish of {s}', '{s}, in Velmish'],
      questions: ['How do you say {s} in Velmish?', 'Translate {s} into Velmish.', 'What is the Velmish word for {s}?'],
      facts: dictionary,
    },
    {
      id: 'velmish/meaning',
      statements: [
        'The Velmish word {s} means {a}.',
        'In Velmish {s} stands for {a}.',
        'Speakers of Velmish use {s} to mean {a}.',
      ],
      cards: ['meaning of {s}', '{s}, from Velmish'],
      questions: [
        'What does the Velmish word {s} mean?',
        'Translate {s} from Velmish.',
        'A friend says {s} in Velmish. What is that?',
      ],
      facts: dictionary.map(({ subject, answer }) => ({ subject: answer, answer: subject })),
    },
  ]
}
