import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { Ledger } from '@swift/energy'
import { SwiftError } from '@swift/spec'
import type { RunBudget, RunData, RunFact, RunForecast, RunProblem, RunState } from '../run-data.ts'
import { readBudgets } from './read-budgets.ts'
import { ledgerFolder, readEnergy, type CarbonOptions, type ReadEnergy } from './read-energy.ts'
import { readJsonFile } from './read-json-file.ts'
import { asNumber, asObject, asText, defined, type JsonObject } from './json-value.ts'
import { readLog } from './read-log.ts'

/** Which run to read, and how it is called on the page. */
export interface RunReference {
  readonly id: string
  readonly name: string
  readonly folder: string
}

/** A ledger that is written commits every second; after this long without a commit nobody writes it. */
const silenceMs = 10_000

const gibibytes = (bytes: number): string => `${(bytes / 2 ** 30).toFixed(1)} GiB`

function facts(entries: readonly (readonly [name: string, value: string | undefined])[]): RunFact[] {
  return entries.flatMap(([name, value]) => (value === undefined ? [] : [{ name, value }]))
}

function settingsOf(plan: JsonObject | undefined, args: JsonObject | undefined): RunFact[] {
  const parameters = asNumber(plan?.['parameters'])
  const trained = asNumber(plan?.['trainedParameters'])
  const rate = asNumber(plan?.['learningRate']) ?? asNumber(args?.['learningRate'])
  const scheduler = asText(plan?.['lrSchedulerType']) ?? asText(args?.['lrSchedulerType'])
  const epochs = asNumber(args?.['numTrainEpochs'])
  const seed = asNumber(args?.['seed'])
  return facts([
    ['model', asText(plan?.['model'])],
    ['parameters', parameters?.toLocaleString('en')],
    [
      'trained',
      trained === undefined ? undefined : `${trained.toLocaleString('en')} (${asText(plan?.['tuner']) ?? ''})`,
    ],
    ['weights', asText(plan?.['weightFormat'])],
    ['optimizer', asText(plan?.['optimizer']) ?? asText(args?.['optim'])],
    ['learning rate', rate === undefined ? undefined : `${rate}${scheduler === undefined ? '' : `, ${scheduler}`}`],
    ['epochs', epochs?.toString()],
    ['seed', seed?.toString()],
  ])
}

function machineOf(plan: JsonObject | undefined): RunFact[] {
  const probe = asObject(plan?.['probe'])
  const flops = asNumber(probe?.['flopsPerSecond'])
  const bandwidth = asNumber(probe?.['bytesPerSecond'])
  const limit = asNumber(plan?.['limitBytes'])
  return facts([
    ['device', asText(plan?.['device'])],
    ['instruction set', asText(plan?.['instructionSet'])],
    ['threads', asNumber(plan?.['threads'])?.toString()],
    ['compute dtype', asText(plan?.['computeDtype'])],
    ['probed', flops === undefined ? undefined : `${(flops / 1e9).toFixed(0)} GFLOP/s`],
    ['memory speed', bandwidth === undefined ? undefined : `${(bandwidth / 1e9).toFixed(1)} GB/s`],
    ['memory for the run', limit === undefined ? undefined : gibibytes(limit)],
  ])
}

function forecastOf(plan: JsonObject | undefined): RunForecast | undefined {
  if (plan === undefined) return undefined
  const joules = asObject(plan['joules'])
  return defined({
    measuredJoules: asNumber(joules?.['measured']),
    modelledJoules: asNumber(joules?.['modelled']),
    seconds: asNumber(plan['seconds']),
  }) as RunForecast
}

async function modifiedUnixMs(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.mtimeMs
}

function stateOf(
  ledger: ReadEnergy | undefined,
  end: JsonObject | undefined,
  logUnixMs: number | undefined,
  isEmpty: boolean,
): RunState {
  if (isEmpty) return 'empty'
  const lastUnixMs = Math.max(ledger?.endedUnixMs ?? 0, logUnixMs ?? 0)
  if (ledger?.closed === true) return 'finished'
  // A run that was resumed leaves the end of its earlier part behind: an open ledger with news is what counts.
  if (Date.now() - lastUnixMs < silenceMs) return 'running'
  if (ledger === undefined && end !== undefined) return 'finished'
  return 'stopped'
}

/** What a run wrote beside its ledger: why it stopped, that a budget was spent. */
async function addNotes(ledger: string, problems: RunProblem[]): Promise<void> {
  try {
    for (const { code, message } of await Ledger.notes(ledger)) {
      problems.push({ severity: 'note', code, found: message, remedy: 'The run wrote this beside its ledger.' })
    }
  } catch (error) {
    if (!SwiftError.isInstance(error)) throw error
    const { code, asked, found, remedy } = error
    problems.push({ severity: 'error', code, found: `${asked}: ${found}.`, remedy })
  }
}

/**
 * Reads a run folder, or the folder of a ledger alone. Never throws: what is missing or damaged is named in `problems`,
 * and the rest is there.
 */
export async function readRun({ id, name, folder }: RunReference, carbon: CarbonOptions = {}): Promise<RunData> {
  const problems: RunProblem[] = []
  const base = { id, name, folder }
  if ((await stat(folder).catch(() => undefined))?.isDirectory() !== true) {
    problems.push({
      severity: 'error',
      code: 'ERR_RUN_MISSING',
      found: `There is no folder ${folder}.`,
      remedy: 'It was moved or removed; start swift dashboard again with the folder of a run.',
    })
    const nothing = { log: [], evaluations: [], budgets: [], settings: [], machine: [] }
    return { ...base, ...nothing, state: 'empty', problems }
  }
  const plan = await readJsonFile(join(folder, 'plan.json'), problems)
  const args = await readJsonFile(join(folder, 'args.json'), problems)
  const end = await readJsonFile(join(folder, 'trainer_state.json'), problems)
  const { log, evaluations } = await readLog(folder, problems)
  const path = await ledgerFolder(folder)
  const ledger = path === undefined ? undefined : await readEnergy(path, carbon, problems)
  if (path !== undefined) await addNotes(path, problems)
  const logUnixMs = await modifiedUnixMs(join(folder, 'logging.jsonl'))
  const hasNothing = plan === undefined && args === undefined && log.length === 0 && path === undefined
  const isEmpty = hasNothing && problems.length === 0
  if (isEmpty) {
    problems.push({
      severity: 'note',
      code: 'WARN_RUN_EMPTY',
      found: `Nothing in ${folder} yet: no ledger, no log, no plan.`,
      remedy: 'A run that writes here appears by itself. Or name the folder of another run.',
    })
  } else if (path === undefined) {
    problems.push({
      severity: 'note',
      code: 'WARN_LEDGER_NONE',
      found: 'This run has no energy ledger: its energy is unavailable, which is not zero.',
      remedy: 'Metering needs the native module; swift doctor tells what is missing.',
    })
  }
  const state = stateOf(ledger, end, logUnixMs, isEmpty)
  if (state === 'stopped') {
    problems.push({
      severity: 'note',
      code: 'WARN_RUN_STOPPED',
      found: 'The run ended without closing its ledger; the figures end at its last commit.',
      remedy: 'To go on from its last checkpoint, repeat the command with --resume-from-checkpoint auto.',
    })
  }
  const length = asObject(plan?.['length'])
  const lastLog = log.at(-1)
  const durationMs = asNumber(end?.['durationMs'])
  const budgets: RunBudget[] = readBudgets(args, ledger?.energy, problems)
  return {
    ...base,
    state,
    ...defined({
      reason: state === 'running' ? undefined : asText(end?.['reason']),
      startedUnixMs: ledger?.startedUnixMs,
      updatedUnixMs: ledger?.endedUnixMs ?? logUnixMs,
      step: lastLog?.step,
      totalSteps: asNumber(length?.['totalSteps']) ?? asNumber(end?.['totalSteps']),
      tokens: lastLog?.tokens,
      trainingSeconds: durationMs === undefined ? undefined : durationMs / 1000,
      energy: ledger?.energy,
      forecast: forecastOf(plan),
    }),
    log,
    evaluations,
    budgets,
    settings: settingsOf(plan, args),
    machine: machineOf(plan),
    problems,
  }
}
