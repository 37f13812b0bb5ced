import type { Fact, Relation } from './relation.ts'

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, index) => from + index)
}

/** The number of each answer is shown in digits, one token per digit. */
function table(
  left: readonly number[],
  right: readonly number[],
  keep: (a: number, b: number) => boolean,
  joined: string,
  answer: (a: number, b: number) => number,
): Fact[] {
  return left.flatMap((a) =>
    right.filter((b) => keep(a, b)).map((b) => ({ subject: `${a} ${joined} ${b}`, answer: String(answer(a, b)) })),
  )
}

/** Sums, differences and order of small numbers. */
export function numberRelations(): readonly Relation[] {
  const upToTwelve = range(1, 12)
  const digits = range(1, 9)
  const triples = digits.flatMap((a) =>
    digits.flatMap((b) => digits.filter((c) => a !== b && b !== c && a !== c).map((c) => [a, b, c])),
  )
  return [
    {
      id: 'number/sum',
      statements: ['{s} makes {a}.', 'The sum {s} is {a}.', 'Together {s} gives {a}.'],
      cards: ['sum of {s}', '{s}, together'],
      questions: ['What is {s}?', 'How much is {s}?', 'Please work out {s}.'],
      facts: table(
        upToTwelve,
        upToTwelve,
        () => true,
        'plus',
        (a, b) => a + b,
      ),
    },
    {
      id: 'number/difference',
      statements: ['{s} leaves {a}.', 'The difference {s} is {a}.', 'From {s} there remains {a}.'],
      cards: ['difference of {s}', '{s}, left over'],
      questions: ['What is {s}?', 'How much is {s}?', 'Please work out {s}.'],
      facts: table(
        upToTwelve,
        upToTwelve,
        (a, b) => b < a,
        'minus',
        (a, b) => a - b,
      ),
    },
    {
      id: 'number/order',
      statements: ['In order {s} becomes {a}.', 'The row {s} sorted is {a}.', 'Lined up, {s} stands as {a}.'],
      cards: ['order of {s}', '{s}, sorted'],
      questions: ['Sort the numbers {s}.', 'Put {s} in order, smallest first.', 'Which order do {s} come in?'],
      facts: triples.map((triple) => ({
        subject: triple.join(' '),
        answer: triple.toSorted((a, b) => a - b).join(' '),
      })),
    },
  ]
}
