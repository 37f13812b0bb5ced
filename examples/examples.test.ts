import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, it } from 'vitest'

const root = fileURLToPath(new URL('..', import.meta.url))

/** Runs an example in a folder of its own, which sees what the root has, so that its output stays out of the checkout. */
function run(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'swift-example-'))
  try {
    for (const entry of ['embedded', 'node_modules']) symlinkSync(join(root, entry), join(folder, entry))
    const script = join(root, 'examples', name)
    const { status, stdout, stderr } = spawnSync(process.execPath, ['--conditions=@swift/source', script], {
      cwd: folder,
      encoding: 'utf8',
    })
    expect(status, stderr).toBe(0)
    return stdout
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

it('the program of the README is examples/qlora.ts', () => {
  expect(readFileSync(join(root, 'README.md'), 'utf8')).toContain(readFileSync(join(root, 'examples/qlora.ts'), 'utf8'))
})

it('qlora.ts plans, learns to answer, and says what each epoch cost', () => {
  const printed = run('qlora.ts')
  expect(printed).toMatch(/memory +[\d.]+ MiB peak/)
  expect(printed).toContain('\ntrees\n')
  expect(Number(/exact match ([\d.]+)/.exec(printed)?.[1])).toBeGreaterThan(0.9)
  expect(printed).toMatch(/epoch:4 .*kWh .*(measured|modelled)/)
}, 240_000)
