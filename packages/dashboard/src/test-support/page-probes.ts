import type { Page } from 'playwright-core'

/** Sum of all layout shifts since the page began, as Chromium counts them. */
export function layoutShift(page: Page): Promise<number> {
  // A string, because these lines run in the browser, whose types this package's tests do not have.
  return page.evaluate(`new Promise((resolve) => {
    let sum = 0
    const take = (list) => { for (const entry of list) sum += entry.value }
    const observer = new PerformanceObserver((list) => take(list.getEntries()))
    observer.observe({ type: 'layout-shift', buffered: true })
    const end = () => { take(observer.takeRecords()); resolve(sum) }
    // Shifts are found where a frame is made, and on a busy machine the next one is late.
    requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(end, 300)))
  })`)
}

/** Texts whose contrast with what lies behind them is below WCAG AA, with the ratio; disabled controls are exempt. */
export function lowContrast(page: Page): Promise<readonly string[]> {
  return page.evaluate(`(() => {
    const parse = (text) => {
      const numbers = (text.match(/[\\d.]+(?:e-?\\d+)?/g) ?? []).map(Number)
      const scale = text.startsWith('color(') ? 1 : 255
      const [r, g, b, a = 1] = numbers
      return [r / scale, g / scale, b / scale, a]
    }
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    const luminance = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b)
    const behind = (element) => {
      for (let at = element; at !== null; at = at.parentElement) {
        const colour = parse(getComputedStyle(at).backgroundColor)
        if (colour[3] > 0.99) return colour
      }
      return [1, 1, 1, 1]
    }
    const found = []
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement
      const text = walker.currentNode.textContent.trim()
      if (text === '' || element.closest('script, style, .visually-hidden, label:has(:disabled), .skip')) continue
      const box = element.getBoundingClientRect()
      if (box.width === 0 || box.height === 0) continue
      const style = getComputedStyle(element)
      const [a, b] = [luminance(parse(style.color)), luminance(behind(element))].sort((x, y) => x - y)
      const ratio = (b + 0.05) / (a + 0.05)
      const size = parseFloat(style.fontSize)
      const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700)
      if (ratio < (isLarge ? 3 : 4.5)) found.push(text.slice(0, 40) + ' ' + ratio.toFixed(2) + ' ' + element.className)
    }
    return found
  })()`)
}

/** How many different colours a chart shows: a blank canvas has one. */
export function coloursOfChart(page: Page, section: string): Promise<number> {
  return page.evaluate(`(() => {
    const canvas = document.querySelector('#${section} canvas')
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height)
    const seen = new Set()
    for (let at = 0; at < data.length; at += 4) if (data[at + 3] === 255) seen.add((data[at] << 16) | (data[at + 1] << 8) | data[at + 2])
    return seen.size
  })()`)
}

/** Whether the page is wider than its window. */
export function overflows(page: Page): Promise<boolean> {
  return page.evaluate('document.documentElement.scrollWidth > window.innerWidth')
}

/** Controls a finger cannot hit: less than 24 CSS pixels high (WCAG 2.2, 2.5.8), links in sentences apart. */
export function smallTargets(page: Page): Promise<readonly string[]> {
  return page.evaluate(`[...document.querySelectorAll('button:not(.link):not(.cell), select, a.button, .segmented label, label.check')]
    .filter((element) => element.offsetHeight > 0 && element.getBoundingClientRect().height < 24)
    .map((element) => element.textContent + ' ' + element.getBoundingClientRect().height)`)
}
