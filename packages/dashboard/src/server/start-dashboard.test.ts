import { appendFile, mkdir, rm } from 'node:fs/promises'
import { request } from 'node:http'
import { createServer } from 'node:net'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { DashboardData } from '../run-data.ts'
import { makeRun, TestFolder } from '../test-support/make-run.ts'
import { startDashboard, type DashboardServer } from './start-dashboard.ts'

let folder: TestFolder
let server: DashboardServer

beforeAll(async () => {
  folder = await TestFolder.make()
  await makeRun(folder.join('first'))
  await mkdir(folder.join('empty'))
  server = await startDashboard({ paths: [folder.join('first'), folder.join('empty')], port: 0, periodMs: 50 })
})

afterAll(async () => {
  await server.close()
  await folder[Symbol.asyncDispose]()
})

interface RawAnswer {
  readonly status: number
  readonly headers: Readonly<Record<string, unknown>>
  readonly body: string
}

/** A request as it is written: `fetch` would tidy up the path first, and forbids a Host header. */
function raw(path: string, options: { readonly method?: string; readonly host?: string } = {}): Promise<RawAnswer> {
  const { hostname, port } = new URL(server.url)
  const { method = 'GET', host } = options
  return new Promise((resolve, reject) => {
    const sent = request(
      { hostname, port, path, method, headers: host === undefined ? {} : { Host: host } },
      (answer) => {
        let body = ''
        answer.setEncoding('utf8')
        answer.on('data', (chunk: string) => (body += chunk))
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body }))
      },
    )
    sent.on('error', reject)
    sent.end()
  })
}

/** Reads events until one satisfies `isWanted`; keep-alive comments are passed over. */
async function nextData(url: string, isWanted: (data: DashboardData) => boolean): Promise<DashboardData> {
  const abort = new AbortController()
  const answer = await fetch(`${url}events`, { signal: abort.signal })
  expect(answer.headers.get('content-type')).toContain('text/event-stream')
  let text = ''
  try {
    for await (const chunk of (answer.body as ReadableStream<Uint8Array>).pipeThrough(new TextDecoderStream())) {
      text += chunk
      for (;;) {
        const end = text.indexOf('\n\n')
        if (end < 0) break
        const json = /^data: (.*)$/m.exec(text.slice(0, end))?.[1]
        text = text.slice(end + 2)
        if (json === undefined) continue
        const data = JSON.parse(json) as DashboardData
        if (isWanted(data)) return data
      }
    }
    throw new Error('the stream ended')
  } finally {
    abort.abort()
  }
}

describe('what it answers', () => {
  it('listens on this machine alone', () => {
    expect(new URL(server.url).hostname).toBe('127.0.0.1')
  })

  it('serves the page with its data inside and a policy without exceptions', async () => {
    const { status, headers, body } = await raw('/')
    expect(status).toBe(200)
    expect(headers['content-type']).toBe('text/html; charset=utf-8')
    expect(headers['content-security-policy']).toContain(`default-src 'none'`)
    expect(headers['content-security-policy']).not.toContain('unsafe')
    expect(headers['x-content-type-options']).toBe('nosniff')
    expect(body.includes('"mode":"live"')).toBe(true)
    expect(body.includes('<title>2 runs')).toBe(true)
  })

  it('gives the data as JSON', async () => {
    const data = (await (await fetch(`${server.url}data.json`)).json()) as DashboardData
    expect(data.runs.map(({ name, state }) => [name, state])).toEqual([
      ['first', 'finished'],
      ['empty', 'empty'],
    ])
    expect(data.runs[0]?.energy?.machine.measured?.value).toBeCloseTo(12, 3)
  })

  it('gives an export to save', async () => {
    const { headers, body } = await raw('/export.html')
    expect(headers['content-disposition']).toContain('attachment')
    expect(body.includes('"mode":"file"')).toBe(true)
  })

  it('sends no body to HEAD', async () => {
    const { status, headers, body } = await raw('/', { method: 'HEAD' })
    expect([status, body]).toEqual([200, ''])
    expect(Number(headers['content-length'])).toBeGreaterThan(10_000)
  })
})

describe('what it refuses', () => {
  it.each([
    '/../../../../etc/passwd',
    '/..%2f..%2f..%2fetc%2fpasswd',
    '/first/plan.json',
    '/energy/',
    '//etc/passwd',
    '/data.json/../../plan.json',
    '/%00',
    '/events/..',
  ])('has no file at %s', async (path) => {
    const { status, body } = await raw(path)
    expect(status).toBe(404)
    expect(body).toContain('ERR_DASHBOARD_PATH')
    expect(body).not.toMatch(/root:|"model"/)
  })

  it.each(['POST', 'PUT', 'DELETE', 'OPTIONS'])('does not take %s', async (method) => {
    const { status, headers } = await raw('/', { method })
    expect(status).toBe(405)
    expect(headers['allow']).toBe('GET, HEAD')
    expect(headers['access-control-allow-origin']).toBeUndefined()
  })

  it('does not answer to the name of another site that was pointed here', async () => {
    expect((await raw('/', { host: 'evil.example' })).status).toBe(403)
    expect((await raw('/data.json', { host: '127.evil.example:80' })).status).toBe(403)
    expect((await raw('/', { host: 'localhost:1' })).status).toBe(200)
    expect((await raw('/', { host: '[::1]:1' })).status).toBe(200)
  })

  it('says which port is taken', async () => {
    const other = createServer()
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', () => resolve()))
    const { port } = other.address() as { readonly port: number }
    try {
      await expect(startDashboard({ paths: [folder.join('first')], port })).rejects.toMatchObject({
        code: 'ERR_DASHBOARD_ADDRESS',
        found: 'another program listens there',
      })
    } finally {
      other.close()
    }
  })

  it('does not start over a folder that is not there', async () => {
    await expect(startDashboard({ paths: [folder.join('nowhere')], port: 0 })).rejects.toMatchObject({
      code: 'ERR_RUN_MISSING',
    })
  })
})

describe('news', () => {
  it('come by themselves when a run writes, and when one begins in an empty folder', async () => {
    const news = nextData(server.url, ({ runs }) => runs[0]?.log.at(-1)?.step === 41)
    await appendFile(folder.join('first/logging.jsonl'), '{"type":"log","step":41,"loss":0.4,"tokens":4100}\n')
    expect((await news).runs[0]?.log).toHaveLength(41)
    const begun = nextData(server.url, ({ runs }) => runs[1]?.state === 'finished')
    await makeRun(folder.join('empty'))
    expect((await begun).runs[1]?.energy?.machine.measured?.value).toBeCloseTo(12, 3)
  })

  it('tell that a folder went, and keep what was read', async () => {
    const path = folder.join('gone')
    await makeRun(path)
    await using watched = await startDashboard({ paths: [path], port: 0, periodMs: 50 })
    const news = nextData(watched.url, ({ problems }) => problems.length > 0)
    await rm(path, { recursive: true })
    const { problems, runs } = await news
    expect(problems[0]?.code).toBe('ERR_RUN_MISSING')
    expect(runs[0]?.log).toHaveLength(40)
  })

  it('end when the server ends', async () => {
    const other = await startDashboard({ paths: [folder.join('first')], port: 0, periodMs: 50 })
    const answer = await fetch(`${other.url}events`)
    const reading = answer.text()
    await other.close()
    await expect(reading.catch(() => 'cut')).resolves.toBeTypeOf('string')
    await expect(fetch(other.url)).rejects.toThrow('fetch failed')
  })
})
