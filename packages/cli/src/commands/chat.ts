import { createInterface } from 'node:readline/promises'
import type { GenerateOptions, SwiftModel } from '@swift/core'
import type { ChatMessage } from '@swift/spec'
import { paint, printLine, type OutputMode } from '../output/output.ts'

const help = '/reset starts over, /exit ends, Ctrl-C stops an answer'

/** Several turns in the terminal, answers streamed; ends at /exit or the end of the input. */
export async function chat(model: SwiftModel, options: GenerateOptions, output: OutputMode): Promise<void> {
  const terminal = process.stdin.isTTY === true
  const lines = createInterface({
    input: process.stdin,
    output: process.stdout,
    terminal,
    prompt: paint(output, 'cyan', 'you> '),
  })
  let messages: ChatMessage[] = []
  let running: AbortController | undefined
  lines.on('SIGINT', () => {
    if (running === undefined) lines.close()
    else running.abort()
  })
  printLine(`${model.name} · ${help}`)
  if (terminal) lines.prompt()
  for await (const line of lines) {
    const text = line.trim()
    if (text === '/exit') break
    if (text === '/reset') {
      messages = []
      printLine('started over')
    } else if (text !== '') {
      messages.push({ role: 'user', content: text })
      running = new AbortController()
      const answer = await streamAnswer(model, messages, { ...options, signal: running.signal }, output)
      running = undefined
      messages.push({ role: 'assistant', content: answer })
    }
    if (terminal) lines.prompt()
  }
  lines.close()
}

async function streamAnswer(
  model: SwiftModel,
  messages: readonly ChatMessage[],
  options: GenerateOptions,
  output: OutputMode,
): Promise<string> {
  process.stdout.write(paint(output, 'green', `${model.name}> `))
  let answer = ''
  for await (const piece of model.generate(messages, options)) {
    answer += piece
    process.stdout.write(piece)
  }
  process.stdout.write('\n')
  return answer
}
