import { readFile } from 'node:fs/promises'
import { SwiftError } from '@swift/spec'

/** Script and style sheet of the page. */
export interface PageFiles {
  readonly script: string
  readonly style: string
}

let loaded: Promise<PageFiles> | undefined

/** As built beside this file; made from the sources where the package runs from them. */
async function load(): Promise<PageFiles> {
  const read = (name: string): Promise<string> => readFile(new URL(`./page/${name}`, import.meta.url), 'utf8')
  try {
    return { script: await read('page.js'), style: await read('page.css') }
  } catch (missing) {
    try {
      const maker = new URL('../../build-page.ts', import.meta.url).href
      const { bundlePage } = (await import(maker)) as { readonly bundlePage: () => Promise<PageFiles> }
      return await bundlePage()
    } catch (cause) {
      throw new SwiftError({
        code: 'ERR_DASHBOARD_PAGE',
        asked: 'The page of the dashboard',
        found: `its bundle is not there (${missing instanceof Error ? missing.message : String(missing)}) and cannot be made (${cause instanceof Error ? cause.message : String(cause)})`,
        remedy: 'Reinstall @swift/dashboard, or run its build script in the repository',
        cause,
      })
    }
  }
}

/** The files of the page, read once. @throws `ERR_DASHBOARD_PAGE` */
export async function pageFiles(): Promise<PageFiles> {
  loaded ??= load()
  return loaded
}
