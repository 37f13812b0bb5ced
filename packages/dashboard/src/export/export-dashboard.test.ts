import { mkdir, readFile, writeFile } from 'node:fs/promises'
import { describe, expect, it } from 'vitest'
import { makeRun, TestFolder } from '../test-support/make-run.ts'
import { exportDashboard } from './export-dashboard.ts'

describe('exportDashboard', () => {
  it('writes runs into one file, folders made on the way', async () => {
    await using folder = await TestFolder.make()
    await makeRun(folder.join('first'))
    await mkdir(folder.join('second'))
    const file = folder.join('reports/today/report.html')
    const written = await exportDashboard({ paths: [folder.join('first'), folder.join('second')], file, zone: 'FRA' })
    expect(written).toMatchObject({ file, runs: ['first', 'second'] })
    const html = await readFile(file, 'utf8')
    expect(Buffer.byteLength(html)).toBe(written.bytes)
    expect(html.includes('"zone":"FRA"')).toBe(true)
    expect(html.includes('"mode":"file"')).toBe(true)
  })

  it('refuses what cannot be: no run, no place to write, no such zone', async () => {
    await using folder = await TestFolder.make()
    await makeRun(folder.join('run'))
    const paths = [folder.join('run')]
    await expect(exportDashboard({ paths: [folder.join('none')], file: folder.join('x.html') })).rejects.toMatchObject({
      code: 'ERR_RUN_MISSING',
    })
    await writeFile(folder.join('file'), '')
    await expect(exportDashboard({ paths, file: folder.join('file/x.html') })).rejects.toMatchObject({
      code: 'ERR_DASHBOARD_EXPORT',
    })
    await expect(exportDashboard({ paths, file: folder.join('x.html'), zone: 'ATLANTIS' })).rejects.toMatchObject({
      code: expect.stringMatching(/^ERR_/) as unknown,
    })
    await expect(exportDashboard({ paths, file: folder.join('x.html'), pue: 0.5 })).rejects.toMatchObject({
      code: 'ERR_ENERGY_PUE',
    })
  })
})
