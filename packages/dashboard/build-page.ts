// Bundles the page (Preact, uPlot, our components, the style) into one script and one style sheet, without any
// reference to a network. `node build-page.ts` writes them to dist/page; the sources call `bundlePage` when they run
// without a build.
import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

/** Script and style sheet of the page. */
export interface PageBundle {
  readonly script: string
  readonly style: string
}

const folder = dirname(fileURLToPath(import.meta.url))

const licences = `/*! This page contains Preact (c) 2015 Jason Miller and uPlot (c) 2022 Leon Sorokin, both under the MIT License. */`

/** The bundle, made from the sources. */
export async function bundlePage(): Promise<PageBundle> {
  const { outputFiles } = await build({
    absWorkingDir: folder,
    entryPoints: ['src/page/main.tsx'],
    bundle: true,
    write: false,
    outdir: 'dist/page',
    format: 'iife',
    target: ['es2022', 'chrome111', 'firefox113', 'safari16.4'],
    jsx: 'automatic',
    jsxImportSource: 'preact',
    minify: true,
    legalComments: 'none',
    banner: { js: licences },
    tsconfigRaw: {},
    logLevel: 'warning',
  })
  const text = (ending: string): string => outputFiles.find(({ path }) => path.endsWith(ending))?.text ?? ''
  return { script: text('.js'), style: text('.css') }
}

if (import.meta.main) {
  const { script, style } = await bundlePage()
  await mkdir(join(folder, 'dist/page'), { recursive: true })
  await writeFile(join(folder, 'dist/page/page.js'), script)
  await writeFile(join(folder, 'dist/page/page.css'), style)
  console.log(`page: ${(script.length / 1024).toFixed(0)} KiB script, ${(style.length / 1024).toFixed(0)} KiB style`)
}
