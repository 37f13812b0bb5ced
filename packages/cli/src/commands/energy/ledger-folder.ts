import { readFile, stat } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { Calibration, ReportOptions } from '@swift/energy'
import { SwiftError, type EnergyReport } from '@swift/spec'

/** The ledger's folder: the one named, or `energy` inside a run's folder. @throws `ERR_ARGUMENT_MISSING`, `ERR_LEDGER_MISSING` */
export async function ledgerFolder(folder: string | undefined, action = 'report'): Promise<string> {
  if (folder === undefined) {
    throw new SwiftError({
      code: 'ERR_ARGUMENT_MISSING',
      asked: `swift energy ${action} without a folder`,
      found: 'no run to look at',
      remedy: `Write swift energy ${action} RUN_FOLDER`,
    })
  }
  const inside = join(folder, 'energy')
  const isThere = async (path: string): Promise<boolean> =>
    (await stat(path).catch(() => undefined))?.isDirectory() === true
  if (await isThere(inside)) return inside
  if (await isThere(folder)) return folder
  throw new SwiftError({
    code: 'ERR_LEDGER_MISSING',
    asked: `The energy ledger of ${folder}`,
    found: 'there is no such folder',
    remedy: 'Name the folder of a run, or its energy folder',
  })
}

/** `0.30EUR`. @throws `ERR_OPTION_INVALID` */
function parsePrice(text: string): { readonly perKilowattHour: number; readonly currency: string } {
  const [, value, currency] = /^(\d+(?:\.\d+)?)\s*([A-Za-z€$£¥]+)$/.exec(text.trim()) ?? []
  if (value !== undefined && currency !== undefined) return { perKilowattHour: Number(value), currency }
  throw new SwiftError({
    code: 'ERR_OPTION_INVALID',
    asked: `swift energy: --price ${text}`,
    found: 'not a number followed by a currency',
    remedy: 'Write the price of a kWh, e.g. --price 0.30EUR',
  })
}

/** Options of a report from the command line. */
export async function reportOptions(values: Readonly<Record<string, unknown>>): Promise<ReportOptions> {
  const { carbonProviderOf, readCalibration } = await import('@swift/energy')
  const { zone, price, calibration } = values
  const applied: Calibration | undefined =
    typeof calibration === 'string' ? await readCalibration(calibration) : undefined
  return {
    per: values['per'] as EnergyReport['per'],
    pue: values['pue'] as number,
    carbon: carbonProviderOf(values['carbon'] as string),
    ...(typeof zone === 'string' ? { zone } : {}),
    ...(typeof price === 'string' ? { price: parsePrice(price) } : {}),
    ...(applied === undefined ? {} : { calibration: applied }),
  }
}

/** The same options with the factor of the run's own time: the middle of what was metered, not of today. */
export async function atTimeOf(folder: string, options: ReportOptions): Promise<ReportOptions> {
  const { Ledger, segmentHeaders } = await import('@swift/energy')
  const started = (await segmentHeaders(folder))[0]?.startedUnixMs
  if (started === undefined) return options
  const milliseconds = Number(Ledger.read(folder).durationNanoseconds) / 1e6
  return { ...options, when: new Date(started + milliseconds / 2) }
}

/** Tokens of a run, from the option or from what the trainer left beside the ledger; `undefined` where nobody knows. */
export async function tokensOf(folder: string, values: Readonly<Record<string, unknown>>): Promise<number | undefined> {
  if (typeof values['tokens'] === 'number') return values['tokens']
  const text = await readFile(join(dirname(folder), 'logging.jsonl'), 'utf8').catch(() => '')
  let tokens: number | undefined
  for (const line of text.split('\n')) {
    if (!line.includes('"tokens"')) continue
    try {
      const record = JSON.parse(line) as { readonly type?: string; readonly tokens?: number }
      if (record.type === 'log' && typeof record.tokens === 'number') tokens = record.tokens
    } catch {
      // The last line of a killed run may be half a line.
    }
  }
  return tokens
}
