// Draws what a terminal shows as an SVG, for the README: text with colours as `tmux capture-pane -p -e` prints it.
//   node tools/terminal-picture.ts screen.txt picture.svg [title]
import { readFileSync, writeFileSync } from 'node:fs'
import { argv } from 'node:process'

interface Style {
  readonly colour: string
  readonly bold: boolean
  readonly dim: boolean
}

interface Run extends Style {
  readonly text: string
  /** Column of the first character, from 0. */
  readonly column: number
}

const size = { character: 7.8, line: 17, padding: 16, bar: 30 }
const ink = '#d7dce2'
const colours = ['#6b7280', '#f7768e', '#73daca', '#e0af68', '#7aa2f7', '#bb9af7', '#7dcfff', ink]
const plain: Style = { colour: ink, bold: false, dim: false }

function apply(style: Style, code: number): Style {
  if (code === 0) return plain
  if (code === 1) return { ...style, bold: true }
  if (code === 2) return { ...style, dim: true }
  if (code === 22) return { ...style, bold: false, dim: false }
  if (code === 39) return { ...style, colour: ink }
  const index = code >= 90 ? code - 90 : code - 30
  return index >= 0 && index < 8 ? { ...style, colour: colours[index] ?? ink } : style
}

const escapeCharacter = String.fromCharCode(27)

/** Runs of equal style in a line; the style goes on to the next line. */
function readLine(line: string, start: Style): { readonly runs: readonly Run[]; readonly style: Style } {
  const runs: Run[] = []
  let style = start
  let column = 0
  for (const [index, part] of line.split(escapeCharacter).entries()) {
    const codes = index === 0 ? null : /^\[([\d;]*)m/.exec(part)
    for (const code of codes === null ? [] : (codes[1] || '0').split(';')) style = apply(style, Number(code))
    const text = codes === null ? part : part.slice(codes[0].length)
    if (text === '') continue
    runs.push({ ...style, text, column })
    column += [...text].length
  }
  return { runs, style }
}

const escape = (text: string): string => text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')

/** The picture of `screen`: a window with a title bar, as wide as its longest line. */
export function terminalPicture(screen: string, title: string): string {
  const lines = screen.replace(/\s+$/, '').split('\n')
  let style = plain
  let columns = 60
  const texts: string[] = []
  for (const [index, line] of lines.entries()) {
    const read = readLine(line, style)
    style = read.style
    const y = size.bar + size.padding + (index + 0.75) * size.line
    for (const { text, column, colour, bold, dim } of read.runs) {
      columns = Math.max(columns, column + [...text.trimEnd()].length)
      if (text.trim() === '') continue
      const attributes = [
        `x="${(size.padding + column * size.character).toFixed(1)}"`,
        `y="${y.toFixed(1)}"`,
        `fill="${colour}"`,
        `textLength="${([...text].length * size.character).toFixed(1)}"`,
        ...(bold ? ['font-weight="bold"'] : []),
        ...(dim ? ['opacity="0.6"'] : []),
      ]
      texts.push(`<text ${attributes.join(' ')} xml:space="preserve">${escape(text)}</text>`)
    }
  }
  const width = Math.ceil(2 * size.padding + columns * size.character)
  const height = Math.ceil(size.bar + 2 * size.padding + lines.length * size.line)
  const lights = ['#ff5f57', '#febc2e', '#28c840'].map(
    (fill, index) => `<circle cx="${18 + 18 * index}" cy="15" r="5.5" fill="${fill}"/>`,
  )
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img" aria-label="${escape(title)}">`,
    `<rect width="${width}" height="${height}" rx="9" fill="#16181d"/>`,
    ...lights,
    `<text x="${width / 2}" y="20" fill="#8b93a1" text-anchor="middle" font-family="sans-serif" font-size="12">${escape(title)}</text>`,
    `<g font-family="ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace" font-size="13">`,
    ...texts,
    '</g>',
    '</svg>',
    '',
  ].join('\n')
}

if (import.meta.main) {
  const [, , from, to, title = 'terminal'] = argv
  if (from === undefined || to === undefined) {
    console.error('usage: node tools/terminal-picture.ts screen.txt picture.svg [title]')
    process.exitCode = 2
  } else {
    writeFileSync(to, terminalPicture(readFileSync(from, 'utf8'), title))
  }
}
