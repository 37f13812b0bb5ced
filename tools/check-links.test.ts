import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { checkLinks } from './check-links.ts'

it('finds links and pictures that lead nowhere, and only those', () => {
  const root = mkdtempSync(join(tmpdir(), 'swift-links-'))
  writeFileSync(
    join(root, 'a.md'),
    '[b](b.md) [part](b.md#part) [web](https://example.org) [here](#here) `[code](no.md)`\n[gone](gone.md) <img src="no.svg">\n',
  )
  writeFileSync(join(root, 'b.md'), '```\n[code](no.md)\n```\n')
  expect(checkLinks(root)).toEqual([
    'a.md: the link to gone.md leads nowhere',
    'a.md: the link to no.svg leads nowhere',
  ])
  rmSync(root, { recursive: true })
})
