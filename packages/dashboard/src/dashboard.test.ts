import { appendFile, mkdir, readdir, writeFile } from 'node:fs/promises'
import { pathToFileURL } from 'node:url'
import { Ledger } from '@swift/energy'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { exportDashboard } from './export/export-dashboard.ts'
import { startDashboard } from './server/start-dashboard.ts'
import { launchBrowser, noBrowser, openPage } from './test-support/browser.ts'
import { makeRun, TestFolder } from './test-support/make-run.ts'
import { formatNumber } from './view/format.ts'
import { coloursOfChart, layoutShift, lowContrast, overflows, smallTargets } from './test-support/page-probes.ts'

/** The page draws after what made it do so, on a busy machine a good while after. */
const drawn = { timeout: 30_000 } as const

/** A folder may be called so, and a page that believed it would run it. */
const nasty = '<img src=x onerror=document.title=`taken`>'

let folder: TestFolder
let browser: Browser
let report: string

beforeAll(async () => {
  if (noBrowser !== undefined) return
  folder = await TestFolder.make()
  await makeRun(folder.join('first'), { args: { energyBudget: '15J' } })
  await makeRun(folder.join('second'), { joules: 2n, lastLoss: 0.8 })
  await makeRun(folder.join(nasty))
  const paths = ['first', 'second', nasty].map((name) => folder.join(name))
  report = pathToFileURL((await exportDashboard({ paths, file: folder.join('report.html') })).file).href
  browser = await launchBrowser()
})

afterAll(async () => {
  await browser?.close()
  await folder?.[Symbol.asyncDispose]()
})

beforeEach((context) => {
  if (noBrowser !== undefined) context.skip(noBrowser)
})

describe('an exported report', () => {
  it('opens from disk, asks for nothing and reports no error', async () => {
    const { page, errors, requests } = await openPage(browser, report, { offline: true })
    expect(await page.title()).toBe('3 runs · joule ledger')
    const sections = await page.locator('main section h2').allTextContents()
    expect(sections).toEqual([
      'Energy over time',
      'Loss against joules',
      'Accounts',
      'Runs side by side',
      'Sources and proof',
    ])
    expect(requests).toEqual([report])
    expect(errors).toEqual([])
    await page.context().close()
  })

  it('draws its charts, with the budget, and says what is measured and what is modelled', async () => {
    const { page } = await openPage(browser, report)
    await expect.poll(() => coloursOfChart(page, 'energy'), drawn).toBeGreaterThan(8)
    await expect.poll(() => coloursOfChart(page, 'loss'), drawn).toBeGreaterThan(8)
    const tiles = (await page.locator('.tiles').textContent()) ?? ''
    // The counter was fed 12 J: all of them are in the ledger, less what it books to its own sampling and to the moments
    // between phases in the phases.
    const { machine, phases, rows } = await Ledger.report(folder.join('first', 'energy'), { per: 'account' })
    const accounts = new Map(rows.map(({ key, energy }) => [key, energy.measured?.nanojoules ?? 0n]))
    const outside = (accounts.get('overhead') ?? 0n) + (accounts.get('unattributed') ?? 0n)
    const { measured } = phases.energy
    expect(machine.energy.measured?.nanojoules).toBe(12_000_000_000n)
    expect((measured?.nanojoules ?? 0n) + outside).toBe(12_000_000_000n)
    // The page shows just that, to three digits.
    const joules = (nanojoules: bigint | undefined): string => formatNumber(Number(nanojoules ?? 0n) / 1e9)
    const [low, high] = [joules(measured?.lowNanojoules), joules(measured?.highNanojoules)]
    expect(tiles).toContain(`Energy${joules(measured?.nanojoules)}\u202FJ${low}–${high}\u202FJ`)
    expect(tiles).toMatch(/Energy.*measured/)
    expect(Number(measured?.lowNanojoules)).toBeLessThanOrEqual(12e9)
    expect(Number(measured?.highNanojoules)).toBeGreaterThanOrEqual(12e9)
    expect(tiles).toContain('modelled')
    expect(await page.locator('.verdict').textContent()).toContain('The ledger balances.')
    await page.locator('input[name="energy-scope"][value="machine"]').check()
    const legend = page.locator('#energy .legend tbody th')
    await expect.poll(() => legend.allTextContents(), drawn).toContain('outside phases')
    await page.context().close()
  })

  it.each(['light', 'dark'] as const)('reads well in the %s: contrast AA, no layout shift', async (colorScheme) => {
    const { page } = await openPage(browser, report, { colorScheme })
    expect(await lowContrast(page)).toEqual([])
    expect(await layoutShift(page)).toBe(0)
    expect(await smallTargets(page)).toEqual([])
    const background = await page.evaluate('getComputedStyle(document.body).backgroundColor')
    expect(background).toBe(colorScheme === 'dark' ? 'rgb(14, 17, 22)' : 'rgb(243, 241, 236)')
    await page.context().close()
  })

  it('fits a phone', async () => {
    const { page } = await openPage(browser, report, {
      viewport: { width: 390, height: 844 },
      deviceScaleFactor: 2,
      isMobile: true,
      hasTouch: true,
    })
    expect(await overflows(page)).toBe(false)
    expect(await smallTargets(page)).toEqual([])
    expect(await lowContrast(page)).toEqual([])
    expect(await layoutShift(page)).toBe(0)
    await page.context().close()
  })

  it('is measured by probes that see what they look for', async () => {
    const { page } = await openPage(browser, report)
    await page.evaluate(`(() => {
      const made = document.createElement('p')
      made.textContent = 'hard to read'
      made.style.cssText = 'color: #999; background: #fff; height: 120px; width: 3000px'
      document.querySelector('main').prepend(made)
      const button = document.createElement('button')
      button.textContent = 'tiny'
      button.style.cssText = 'height: 10px; padding: 0; color: #000'
      made.append(button)
    })()`)
    expect(await lowContrast(page)).toEqual([expect.stringContaining('hard to read')])
    await expect.poll(() => layoutShift(page), drawn).toBeGreaterThan(0)
    expect(await overflows(page)).toBe(true)
    expect(await smallTargets(page)).toEqual(['tiny 10'])
    await page.context().close()
  })

  it('keeps the theme that was chosen', async () => {
    const { page } = await openPage(browser, report, { colorScheme: 'light' })
    await expect.poll(() => coloursOfChart(page, 'energy'), drawn).toBeGreaterThan(8)
    const before = await coloursOfChart(page, 'energy')
    const background = (): Promise<string> => page.evaluate('getComputedStyle(document.body).backgroundColor')
    await page.locator('input[name="theme"][value="dark"]').check()
    await expect.poll(background, drawn).toBe('rgb(14, 17, 22)')
    await expect.poll(() => coloursOfChart(page, 'energy'), drawn).not.toBe(before)
    expect(await lowContrast(page)).toEqual([])
    await page.reload()
    await expect.poll(background, drawn).toBe('rgb(14, 17, 22)')
    await page.context().close()
  })

  it('is read with the keyboard alone', async () => {
    const { page } = await openPage(browser, report)
    await page.keyboard.press('Tab')
    expect(await page.evaluate('document.activeElement.textContent')).toBe('Skip to the figures')
    await page.keyboard.press('Enter')
    // Chart: arrows move, the legend reads.
    await page.locator('#energy .chart').focus()
    await page.keyboard.press('End')
    const sum = page.locator('#energy .legend tfoot td').last()
    const moment = page.locator('#energy .legend thead th').last()
    await expect.poll(() => sum.textContent(), drawn).toMatch(/J$/)
    const [end, endMoment] = [await sum.textContent(), await moment.textContent()]
    expect(endMoment).toMatch(/^at /)
    await page.keyboard.press('ArrowLeft')
    await page.keyboard.press('ArrowLeft')
    await expect.poll(() => moment.textContent(), drawn).not.toBe(endMoment)
    expect(await moment.textContent()).toMatch(/^at /)
    // The last stretches may hold too little to show in three digits; the first ones do not.
    await page.keyboard.press('Home')
    await expect.poll(() => sum.textContent(), drawn).not.toBe(end)
    await page.keyboard.press('Escape')
    await expect.poll(() => sum.textContent(), drawn).toBe('–')
    // Icicle: arrows move, Enter goes in, Escape out.
    await page.locator('#accounts [tabindex="0"]').focus()
    const account = page.locator('.account strong')
    const focused = (): Promise<string> => page.evaluate('document.activeElement.dataset.node')
    await page.keyboard.press('ArrowDown')
    await expect.poll(() => account.textContent(), drawn).toBe('machine / phases')
    await page.keyboard.press('ArrowDown')
    await expect.poll(focused, drawn).toMatch(/^machine\/phase\/./)
    const below = await focused()
    await page.keyboard.press('ArrowRight')
    await expect.poll(focused, drawn).not.toBe(below)
    expect(await focused()).toMatch(/^machine\/phase\/./)
    await page.keyboard.press('Enter')
    const inner = page.locator('.crumbs [aria-current]')
    await expect
      .poll(async () => (await account.textContent())?.split(' / ').at(-1) === (await inner.textContent()), drawn)
      .toBe(true)
    const crumbs = page.locator('.crumbs')
    const within = await crumbs.textContent()
    await page.keyboard.press('Escape')
    await expect.poll(() => crumbs.textContent(), drawn).not.toBe(within)
    await page.keyboard.press('Escape')
    await expect.poll(() => crumbs.textContent(), drawn).toBe('machine')
    // Controls are radio buttons.
    await page.locator('#loss input[value="joules"]').focus()
    await page.keyboard.press('ArrowRight')
    await expect.poll(() => page.locator('#loss h2').textContent(), drawn).toBe('Loss against steps')
    await page.context().close()
  })

  it('compares runs and changes to another', async () => {
    const { page } = await openPage(browser, report)
    const rows = page.locator('.compare tbody tr')
    expect(await rows.count()).toBe(3)
    // 12 and 8 J were fed; what the sampling itself took of them is not in the phases, so that the ratio is about 3 to 2.
    const joulesOf = async (run: string): Promise<number> => {
      const { measured } = (await Ledger.report(folder.join(run, 'energy'))).phases.energy
      return Number(measured?.nanojoules) / 1e9
    }
    const [first, second] = [await joulesOf('first'), await joulesOf('second')]
    expect(await rows.nth(1).textContent()).toContain(`−${formatNumber(100 * (1 - second / first))} % measured`)
    await rows.nth(1).getByRole('button').click()
    await expect.poll(() => page.locator('.run-title h2').textContent(), drawn).toBe('second')
    expect(await rows.nth(0).textContent()).toContain(`+${formatNumber(100 * (first / second - 1))} % measured`)
    await page.context().close()
  })

  it('shows a run with a hostile name as text', async () => {
    const { page, errors } = await openPage(browser, report)
    await page.locator('.compare tbody tr').nth(2).getByRole('button').click()
    await expect.poll(() => page.locator('.run-title h2').textContent(), drawn).toBe(nasty)
    expect(await page.locator('img').count()).toBe(0)
    expect(await page.title()).toBe('3 runs · joule ledger')
    expect(errors).toEqual([])
    await page.context().close()
  })
})

describe('a served dashboard', () => {
  it('shows news without being asked, and does not jump', async () => {
    await using own = await TestFolder.make()
    await makeRun(own.join('run'))
    await using server = await startDashboard({ paths: [own.join('run')], port: 0, periodMs: 50 })
    const { page, errors, requests } = await openPage(browser, server.url)
    await expect.poll(() => page.locator('.connection').textContent(), drawn).toBe('live')
    await page.locator('.tile', { hasText: 'step 40' }).waitFor()
    await appendFile(
      own.join('run/logging.jsonl'),
      '{"type":"log","step":41,"loss":0.25,"tokens":4100,"measuredJoules":13}\n',
    )
    await page.locator('.tile', { hasText: 'step 41' }).waitFor()
    await page.locator('.tile', { hasText: '0.2500' }).waitFor()
    expect(await layoutShift(page)).toBe(0)
    expect(errors).toEqual([])
    expect(new Set(requests.map((url) => new URL(url).origin))).toEqual(new Set([new URL(server.url).origin]))
    await page.context().close()
  })

  it('says that the server is gone', async () => {
    const server = await startDashboard({ paths: [folder.join('first')], port: 0 })
    const { page } = await openPage(browser, server.url)
    await server.close()
    await page.locator('.connection-reconnecting').waitFor()
    expect(await page.locator('.tiles').isVisible()).toBe(true)
    await page.context().close()
  })

  it('never leaves the page blank: empty, damaged and vanished runs say what is wrong', async () => {
    await using own = await TestFolder.make()
    await mkdir(own.join('empty'))
    await makeRun(own.join('damaged'))
    await writeFile(own.join('damaged/plan.json'), '{')
    for (const name of await readdir(own.join('damaged/energy'))) {
      if (name.endsWith('.swj')) await writeFile(own.join('damaged/energy', name), 'nothing of a journal')
    }
    await writeFile(own.join('damaged/logging.jsonl'), 'broken\n')
    await using server = await startDashboard({ paths: [own.join('empty'), own.join('damaged')], port: 0 })
    const { page, errors } = await openPage(browser, server.url)
    expect(await page.locator('.problems').textContent()).toContain('WARN_RUN_EMPTY')
    expect(await page.locator('.tiles').textContent()).toContain('unavailable')
    await page.locator('.picker select').selectOption({ index: 1 })
    const shown = page.locator('.problems')
    await expect.poll(() => shown.textContent(), drawn).toContain('plan.json is not JSON')
    const problems = (await shown.textContent()) ?? ''
    expect(problems).toContain('ERR_RUN_LOG_LINES')
    expect(problems).toMatch(/ERR_LEDGER_/)
    expect(errors).toEqual([])
    expect(await lowContrast(page)).toEqual([])
    await page.context().close()
  })
})
