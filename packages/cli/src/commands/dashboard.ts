import { SwiftError, type OptionTable } from '@swift/spec'
import type { Command } from '../arguments/command.ts'
import { printJson, printLine } from '../output/output.ts'
import { carbonOptions } from './energy/energy-options.ts'
import { interruption } from './interruption.ts'

const options: OptionTable = {
  export: { type: 'string', description: 'Write one HTML file that opens without a network, and end.' },
  port: { type: 'integer', default: 7117, minimum: 0, maximum: 65_535, description: 'Port; 0 takes a free one.' },
  host: {
    type: 'string',
    default: '127.0.0.1',
    description:
      'Address to listen at. Any other than this machine’s own opens the page to the network; it has no password.',
  },
  zone: carbonOptions.zone,
  pue: carbonOptions.pue,
}

/** `swift dashboard`. */
export const dashboard: Command = {
  name: 'dashboard',
  summary: 'show runs and their joules in the browser, live, or write them into one HTML file',
  usage: '[RUN_DIR…] [options]',
  examples: [
    'swift dashboard runs/first',
    'swift dashboard runs/first runs/second --port 0',
    'swift dashboard runs/first --export report.html',
  ],
  options: () => Promise.resolve({ dashboard: options }),
  run: async ({ values, given, positionals, output }) => {
    const { exportDashboard, isLoopback, startDashboard } = await import('@swift/dashboard')
    const zone = values['zone'] as string | undefined
    const shared = { paths: positionals, pue: values['pue'] as number, ...(zone === undefined ? {} : { zone }) }
    const file = values['export'] as string | undefined
    if (file !== undefined) {
      if (given.has('port') || given.has('host')) {
        throw new SwiftError({
          code: 'ERR_OPTION_INVALID',
          asked: 'An export with a port or a host',
          found: 'an export is a file and listens nowhere',
          remedy: 'Leave out --port and --host, or leave out --export',
        })
      }
      const written = await exportDashboard({ ...shared, file })
      if (output.json) printJson({ type: 'dashboard-export', ...written })
      else printLine(`wrote ${written.file} (${Math.ceil(written.bytes / 1024)} KiB): ${written.runs.join(', ')}`)
      return 0
    }
    const host = values['host'] as string
    await using server = await startDashboard({ ...shared, host, port: values['port'] as number })
    if (output.json) printJson({ type: 'dashboard', url: server.url })
    else {
      printLine(`${server.url}  (Ctrl-C ends it)`)
      if (!isLoopback(host)) printLine(`everyone who reaches ${host} can read this page; it has no password`)
    }
    const stopped = Promise.withResolvers<void>()
    using _interrupt = interruption(() => stopped.resolve())
    await stopped.promise
    return 0
  },
}
