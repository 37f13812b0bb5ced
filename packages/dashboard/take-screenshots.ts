// Takes the pictures of docs/dashboard.md from real runs:
//   node --conditions=@swift/source packages/dashboard/take-screenshots.ts RUN_DIR…
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import type { Page } from 'playwright-core'
import { exportDashboard } from './src/export/export-dashboard.ts'
import { launchBrowser, noBrowser, openPage } from './src/test-support/browser.ts'

const images = fileURLToPath(new URL('../../docs/images', import.meta.url))

/** From the top of one element to the bottom of another, with the margin of the page around. */
async function shoot(page: Page, name: string, first: string, last: string, margin = 16): Promise<void> {
  await page.evaluate('document.fonts.ready')
  const [top, bottom] = [await page.locator(first).boundingBox(), await page.locator(last).boundingBox()]
  if (top === null || bottom === null) throw new Error(`${name}: ${first} or ${last} is not on the page`)
  const width = page.viewportSize()?.width ?? 1280
  const y = Math.max(0, top.y - margin)
  const path = join(images, `dashboard-${name}.png`)
  const height = bottom.y + bottom.height + margin - y
  await page.screenshot({ path, fullPage: true, clip: { x: 0, y, width, height }, animations: 'disabled' })
  console.log(path)
}

if (noBrowser !== undefined) throw new Error(noBrowser)
const folder = await mkdtemp(join(tmpdir(), 'swift-dashboard-'))
const browser = await launchBrowser()
try {
  const { file } = await exportDashboard({ paths: process.argv.slice(2), file: join(folder, 'report.html') })
  const url = pathToFileURL(file).href
  const light = (await openPage(browser, url, { colorScheme: 'light', viewport: { width: 1200, height: 900 } })).page
  await shoot(light, 'light', '.top', '#loss')
  const dark = (await openPage(browser, url, { colorScheme: 'dark', viewport: { width: 1200, height: 900 } })).page
  await dark.locator('input[name="energy-view"][value="power"]').check()
  await shoot(dark, 'dark', '#energy', '#accounts')
  await shoot(light, 'compare', '#compare', '#compare')
  const phone = (
    await openPage(browser, url, {
      colorScheme: 'light',
      viewport: { width: 390, height: 844 },
      deviceScaleFactor: 1.5,
      isMobile: true,
      hasTouch: true,
    })
  ).page
  await shoot(phone, 'phone', '.top', '#energy', 12)
} finally {
  await browser.close()
  await rm(folder, { recursive: true, force: true })
}
