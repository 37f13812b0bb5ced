import type { IncomingMessage, ServerResponse } from 'node:http'

const commonHeaders: Readonly<Record<string, string>> = {
  'X-Content-Type-Options': 'nosniff',
  'X-Frame-Options': 'DENY',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Resource-Policy': 'same-origin',
  'Cache-Control': 'no-store',
}

/** What is sent. */
export interface Answer {
  readonly status: number
  readonly type: string
  readonly body: string
  readonly headers?: Readonly<Record<string, string>>
}

/** Sends a whole answer; the body stays away for HEAD. */
export function sendAnswer(request: IncomingMessage, response: ServerResponse, answer: Answer): void {
  const body = Buffer.from(answer.body)
  response.writeHead(answer.status, {
    ...commonHeaders,
    ...answer.headers,
    'Content-Type': answer.type,
    'Content-Length': body.length,
  })
  response.end(request.method === 'HEAD' ? undefined : body)
}

/** A coded refusal as plain text. */
export function refusal(status: number, code: string, message: string, headers: Answer['headers'] = {}): Answer {
  return { status, type: 'text/plain; charset=utf-8', body: `${code}: ${message}\n`, headers }
}

/** Headers of a stream of events. */
export const eventHeaders: Readonly<Record<string, string>> = {
  ...commonHeaders,
  'Content-Type': 'text/event-stream; charset=utf-8',
  Connection: 'keep-alive',
}
