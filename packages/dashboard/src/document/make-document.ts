import { createHash } from 'node:crypto'
import type { DashboardData } from '../run-data.ts'
import { dark, light, textOn, themeCss, type Theme } from '../view/palette.ts'
import { embedJson, escapeHtml } from './embed-json.ts'
import type { PageFiles } from './page-files.ts'

/** A document and the policy it must be served with. */
export interface PageDocument {
  readonly html: string
  /** Content-Security-Policy; the document also carries it itself. */
  readonly policy: string
}

/** Runs before anything is drawn, so that the page never flashes in the other theme. */
const earlyScript = `try{const t=localStorage.getItem('swift-dashboard-theme');if(t==='light'||t==='dark')document.documentElement.dataset.theme=t}catch{}`

function themeRules(): string {
  const rules = (theme: Theme): string =>
    `${themeCss(theme)} ${theme.phases.map((colour, index) => `--on-phases-${index}: ${textOn(colour)};`).join(' ')}`
  return [
    `:root { color-scheme: light; ${rules(light)} }`,
    `@media (prefers-color-scheme: dark) { :root:not([data-theme='light']) { color-scheme: dark; ${rules(dark)} } }`,
    `:root[data-theme='dark'] { color-scheme: dark; ${rules(dark)} }`,
  ].join('\n')
}

function hash(text: string): string {
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`
}

function titleOf({ runs }: DashboardData): string {
  const [first] = runs
  const names = first === undefined ? 'no run' : runs.length === 1 ? first.name : `${runs.length} runs`
  return `${names} · joule ledger`
}

/**
 * The whole page in one document: script, style and data inside. It asks for nothing from anywhere: its policy forbids
 * it, except for news from the server it came from when it is live.
 */
export function makeDocument(data: DashboardData, { script, style }: PageFiles): PageDocument {
  const css = `${themeRules()}\n${style}`
  const policy = [
    `default-src 'none'`,
    `script-src ${hash(earlyScript)} ${hash(script)}`,
    // uPlot and Preact set single properties from script, which this permits; style sheets only this one.
    `style-src ${hash(css)}`,
    `img-src data:`,
    `connect-src ${data.mode === 'live' ? `'self'` : `'none'`}`,
    `base-uri 'none'`,
    `form-action 'none'`,
  ].join('; ')
  const html = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${escapeHtml(policy)}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>${escapeHtml(titleOf(data))}</title>
<link rel="icon" href="data:,">
<script>${earlyScript}</script>
<style>${css}</style>
</head>
<body>
<div id="app"><noscript>This page draws its charts with JavaScript, which is off in this browser.</noscript></div>
<script type="application/json" id="data">${embedJson(data)}</script>
<script>${script}</script>
</body>
</html>
`
  return { html, policy }
}
