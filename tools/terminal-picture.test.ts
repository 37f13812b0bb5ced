import { expect, it } from 'vitest'
import { terminalPicture } from './terminal-picture.ts'

it('draws each run at its column in its colour, and escapes what SVG would read as markup', () => {
  const picture = terminalPicture('\u001b[32mgreen\u001b[39m <b> & c\n  \u001b[1mbold\u001b[0m', 'a & b')
  expect(picture).toContain('fill="#73daca" textLength="39.0" xml:space="preserve">green</text>')
  expect(picture).toContain('> &lt;b&gt; &amp; c</text>')
  expect(picture).toMatch(/x="31\.6" y="75\.\d"[^>]* font-weight="bold"[^>]*>bold</)
  expect(picture).toContain('aria-label="a &amp; b"')
})
