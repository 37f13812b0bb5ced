import type { JSX } from 'preact'
import type { RunProblem } from '../run-data.ts'

/** What is missing, damaged or worth knowing; errors first. */
export function Problems({ problems }: { readonly problems: readonly RunProblem[] }): JSX.Element | undefined {
  if (problems.length === 0) return undefined
  const ordered = problems.toSorted((a, b) => Number(a.severity === 'note') - Number(b.severity === 'note'))
  return (
    <ul class="problems" aria-label="Problems and notes">
      {ordered.map(({ severity, code, found, remedy }) => (
        <li key={`${code} ${found}`} class={`problem problem-${severity}`}>
          <strong>{severity === 'error' ? 'Problem' : 'Note'}</strong> <span>{found}</span>{' '}
          <span class="muted">{remedy}</span> <code>{code}</code>
        </li>
      ))}
    </ul>
  )
}
