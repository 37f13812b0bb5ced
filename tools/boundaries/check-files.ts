import { readFileSync } from 'node:fs'
import { basename, join } from 'node:path'
import { listFiles } from './source-files.ts'

const maximumLines = 800
const listedLines = 400

export interface FileReport {
  readonly problems: readonly string[]
  /** Files above 400 lines, longest first: allowed, but each should have a reason. */
  readonly long: readonly { readonly path: string; readonly lines: number }[]
  /** Median number of lines per source file. */
  readonly medianLines: number
}

/** What must not stand in a source file, and what to do instead. `tools/boundaries` itself names them and is exempt. */
const forbidden: readonly (readonly [pattern: RegExp, remedy: string])[] = [
  [/@ts-(ignore|nocheck)/, 'fix the type instead of silencing it'],
  [/\bas any\b/, 'use unknown and narrow it'],
  [/\bMath\.random\(/, 'use the counter-based generator of @swift/tensor, which a seed reproduces'],
  [/\b(TODO|FIXME|XXX)\b/, 'do it, or open an issue and leave the code complete without it'],
]

function checkName(path: string): string[] {
  const stem = basename(path).split('.')[0] ?? ''
  const isRust = path.endsWith('.rs')
  const pattern = isRust ? /^[a-z0-9_]+$/ : /^_?[a-z0-9]+(-[a-z0-9]+)*$/
  return pattern.test(stem) ? [] : [`${path}: name it in ${isRust ? 'snake_case' : 'kebab-case'}`]
}

function checkText(path: string, text: string): string[] {
  if (path.startsWith('tools/boundaries/')) return []
  return text
    .split('\n')
    .flatMap((line, index) =>
      forbidden
        .filter(([pattern]) => pattern.test(line))
        .map(([pattern, remedy]) => `${path}:${index + 1}: matches ${pattern}; ${remedy}`),
    )
}

/** Length, name and forbidden text of every source file. Files that begin with an `@generated` mark have no limit. */
export function checkFiles(root: string): FileReport {
  const problems: string[] = []
  const lengths: { path: string; lines: number }[] = []
  for (const path of listFiles(root, '.', ['.ts', '.tsx', '.mjs', '.js', '.rs', '.cu', '.cpp', '.h', '.py'])) {
    const text = readFileSync(join(root, path), 'utf8')
    if (text.slice(0, 400).includes('@generated')) continue
    const lines = text.split('\n').length - (text.endsWith('\n') ? 1 : 0)
    lengths.push({ path, lines })
    if (lines > maximumLines) problems.push(`${path}: ${lines} lines; at most ${maximumLines}, split it by concern`)
    problems.push(...(path.endsWith('.py') ? [] : checkName(path)), ...checkText(path, text))
  }
  const sorted = lengths.map(({ lines }) => lines).toSorted((a, b) => a - b)
  return {
    problems,
    long: lengths.filter(({ lines }) => lines > listedLines).toSorted((a, b) => b.lines - a.lines),
    medianLines: sorted[Math.floor(sorted.length / 2)] ?? 0,
  }
}
