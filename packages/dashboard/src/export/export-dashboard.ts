import { mkdir, writeFile } from 'node:fs/promises'
import { dirname, resolve } from 'node:path'
import { SwiftError } from '@swift/spec'
import { makeDocument } from '../document/make-document.ts'
import { pageFiles } from '../document/page-files.ts'
import { readDashboard } from '../read/read-dashboard.ts'
import type { CarbonOptions } from '../read/read-energy.ts'

/** What is exported, and where to. */
export interface ExportOptions extends CarbonOptions {
  /** Folders of runs, of ledgers, or of several runs. Default: `runs` and `output` in the working folder. */
  readonly paths?: readonly string[]
  /** The HTML file to write; its folder is made where it is missing, an older file is replaced. */
  readonly file: string
}

/** An export as written. */
export interface Exported {
  /** Absolute path. */
  readonly file: string
  readonly bytes: number
  /** Names of the runs in it. */
  readonly runs: readonly string[]
}

/**
 * Writes the page with its data into one HTML file that opens from disk without a network.
 * @throws `ERR_RUN_MISSING`, `ERR_RUN_NONE`, `ERR_DASHBOARD_EXPORT`, `ERR_DASHBOARD_PAGE`
 */
export async function exportDashboard({ paths = [], file, zone, pue }: ExportOptions): Promise<Exported> {
  const carbon: CarbonOptions = { ...(zone === undefined ? {} : { zone }), ...(pue === undefined ? {} : { pue }) }
  const data = await readDashboard(paths, 'file', carbon)
  const { html } = makeDocument(data, await pageFiles())
  const target = resolve(file)
  try {
    await mkdir(dirname(target), { recursive: true })
    await writeFile(target, html)
  } catch (cause) {
    throw new SwiftError({
      code: 'ERR_DASHBOARD_EXPORT',
      asked: `Writing the report ${target}`,
      found: `it cannot be written (${(cause as NodeJS.ErrnoException).code ?? String(cause)})`,
      remedy: 'Name an .html file in a folder that can be written to',
      cause,
    })
  }
  return { file: target, bytes: Buffer.byteLength(html), runs: data.runs.map(({ name }) => name) }
}
