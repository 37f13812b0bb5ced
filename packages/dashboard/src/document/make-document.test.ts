import { describe, expect, it } from 'vitest'
import type { DashboardData } from '../run-data.ts'
import { embedJson, escapeHtml } from './embed-json.ts'
import { makeDocument } from './make-document.ts'
import { pageFiles } from './page-files.ts'

const nasty = `</script><script>alert(1)</script><!-- \u2028\u2029 & "quoted" 'run' -->`

function data(name: string, mode: DashboardData['mode'] = 'file'): DashboardData {
  const nothing = { log: [], evaluations: [], budgets: [], settings: [], machine: [] }
  const problems = [{ severity: 'note' as const, code: 'X', found: name, remedy: '' }]
  return {
    mode,
    madeUnixMs: 0,
    problems: [],
    runs: [{ id: 'a', name, folder: name, state: 'empty', ...nothing, problems }],
  }
}

/** The embedded data as a browser finds them: up to the first thing that ends the element. */
function embedded(html: string): unknown {
  const start = '<script type="application/json" id="data">'
  const from = html.indexOf(start) + start.length
  return JSON.parse(html.slice(from, html.indexOf('</script>', from)))
}

describe('embedded JSON', () => {
  it('holds nothing that could end its element, and reads back the same', () => {
    const text = embedJson({ nasty })
    expect(text).not.toMatch(/[<>&\u2028\u2029]/)
    expect(JSON.parse(text)).toEqual({ nasty })
  })

  it('escapes text for HTML', () => {
    expect(escapeHtml(`<a b="c" d='e'>&`)).toBe('&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;')
  })
})

describe('the document', () => {
  it('survives a run that is named like the end of a script', async () => {
    const { html } = makeDocument(data(nasty), await pageFiles())
    expect(embedded(html)).toEqual(data(nasty))
    expect(html).not.toContain('<script>alert')
    expect(html.match(/<script/g)).toHaveLength(3)
    expect(html.match(/<\/script>/g)).toHaveLength(3)
    expect(html).toContain('<title>&lt;/script&gt;')
  })

  it('refers to nothing outside itself', async () => {
    const { html, policy } = makeDocument(data('first'), await pageFiles())
    const references = (html.match(/https?:\/\/[^\s"'`\\)<]+/g) ?? []).filter(
      // Names of XML languages, which nobody fetches.
      (address) => !address.startsWith('http://www.w3.org/'),
    )
    expect(references).toEqual([])
    expect(html).not.toMatch(/\b(src|srcset)=["']|url\((?!["']?data:)|@import|import\(/)
    expect(html).not.toContain('sourceMappingURL')
    expect(html.match(/href="[^"#]+"/g)).toEqual(['href="data:,"'])
    expect(policy).toContain(`default-src 'none'`)
    expect(policy).toContain(`connect-src 'none'`)
    expect(policy).not.toContain('unsafe')
    expect(makeDocument(data('first', 'live'), await pageFiles()).policy).toContain(`connect-src 'self'`)
  })

  it('keeps the licences of what is bundled', async () => {
    expect((await pageFiles()).script).toMatch(/Preact .*uPlot .*MIT License/)
  })
})
