import { spawn, type ChildProcess } from 'node:child_process'
import { constants } from 'node:os'
import { join } from 'node:path'
import type {
  EnergyBudget,
  Ledger,
  LedgerEvent,
  PowerLimit,
  PowerLimits,
  ReportOptions,
  SourceOptions,
} from '@swift/energy'
import { SwiftError, type EnergyReport } from '@swift/spec'
import type { CommandCall } from '../../arguments/command.ts'
import type { OutputMode } from '../../output/output.ts'
import { paint } from '../../output/output.ts'
import { printError } from '../../output/print-error.ts'
import { reportOptions } from './report-options.ts'
import { sourceOptions } from './source-options.ts'
import { waitForLowCarbon } from './wait-for-low-carbon.ts'
import { factorLines, isSmall } from './print-report.ts'

/** Standard output is the command's own; what the meter says goes to standard error. */
function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

function defaultFolder(): string {
  const stamp = new Date().toISOString().slice(0, 19).replaceAll(/[-:]/g, '').replace('T', '-')
  return join('output', `energy-${stamp}`)
}

/** A child ended by a signal exits as shells say it: 128 and the signal's number. */
function exitCode(code: number | null, signal: NodeJS.Signals | null): number {
  if (code !== null) return code
  return 128 + (signal === null ? 0 : constants.signals[signal])
}

/**
 * Hands signals on to the command, and goes on until it ends. A terminal sends Ctrl-C to both of us already, so that one
 * is only forwarded where there is none. Called before the command starts: it may run before its start has returned.
 */
function forwardSignals(child: () => ChildProcess): Disposable {
  const isTerminal = process.stdin.isTTY === true
  const names = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR2'] as const
  const listeners = names.map((name) => {
    const listener = (): void => {
      if (!(isTerminal && (name === 'SIGINT' || name === 'SIGQUIT'))) child().kill(name)
    }
    process.on(name, listener)
    return [name, listener] as const
  })
  return { [Symbol.dispose]: () => listeners.forEach(([name, listener]) => process.off(name, listener)) }
}

function startFailure(command: string, error: NodeJS.ErrnoException): SwiftError {
  return new SwiftError({
    code: 'ERR_COMMAND_START',
    asked: `Running ${command}`,
    found: error.code === 'ENOENT' ? 'there is no such program in PATH' : error.message,
    remedy: 'Check its name; the words after -- are run as they are, without a shell',
    cause: error,
  })
}

/**
 * The budget of the command, in grams by the factor of now.
 * @throws `ERR_ENERGY_BUDGET`, and what the carbon provider throws, also where no limit is in grams: the report needs it
 */
async function openBudget(text: unknown, options: ReportOptions): Promise<EnergyBudget | undefined> {
  const { carbonZone, configuredCarbonProvider, EnergyBudget, factorOrStatic } = await import('@swift/energy')
  const { carbon = configuredCarbonProvider(), carbonFallback, pue = 1 } = options
  if (typeof text === 'string') EnergyBudget.parse(text)
  const [zone, now] = [carbonZone(options.zone), new Date()]
  const { factor, note } =
    carbonFallback === true
      ? await factorOrStatic(carbon, zone, now)
      : { factor: await carbon.doFactor(zone, now), note: undefined }
  if (note !== undefined) say(`swift energy: ${note}`)
  if (typeof text !== 'string') return undefined
  return EnergyBudget.parse(text, { gramsPerKilowattHour: factor.gramsPerKilowattHour * pue })
}

/** Ends the command when its budget is spent: SIGTERM, so that it can save what it has, then its own time. */
function watchBudget(budget: EnergyBudget, ledger: Ledger, limits: PowerLimits, child: ChildProcess): Disposable {
  const tell = ({ code, message }: { readonly code: string; readonly message: string }): void => {
    say(`swift energy: ${message}`)
    void ledger.note(code, message)
  }
  const check = (): void => {
    for (const event of budget.observe({ energy: ledger.spent() })) {
      tell(event)
      if (event.kind === 'soft') void limits.lower().then((notes) => notes.forEach(tell))
      if (event.kind === 'hard') child.kill('SIGTERM')
    }
  }
  const timer = setInterval(check, 250)
  return { [Symbol.dispose]: () => clearInterval(timer) }
}

async function runChild(
  words: readonly string[],
  ledger: Ledger,
  limits: PowerLimits,
  budget: EnergyBudget | undefined,
): Promise<number> {
  const [command = '', ...rest] = words
  using _phase = ledger.phase('command')
  // Listeners run on the event loop, so that `child` is there by then.
  using _signals = forwardSignals(() => child)
  const child = spawn(command, rest, { stdio: 'inherit' })
  // Listened to before anything is awaited: a short command is over by then.
  const ended = new Promise<number>((resolve, reject) => {
    child.on('error', (error) => reject(startFailure(command, error)))
    child.on('exit', (code, signal) => resolve(exitCode(code, signal)))
  })
  ended.catch(() => undefined)
  using _budget = budget && watchBudget(budget, ledger, limits, child)
  return await ended
}

async function lines(
  report: EnergyReport,
  words: readonly string[],
  code: number,
  folder: string,
): Promise<string[][]> {
  const { combineLabelled, formatCarbonSplit, formatEnergySplit, formatExactJoules, formatNumber } =
    await import('@swift/energy')
  const { phases, machine, durationSeconds, sources } = report
  const watts = (['measured', 'modelled'] as const).flatMap((energyClass) => {
    const amount = machine.energy[energyClass]
    return amount === undefined
      ? []
      : [`${formatNumber(Number(amount.nanojoules) / 1e9 / Math.max(durationSeconds, 1e-9))} W ${energyClass}`]
  })
  const models = sources.filter(({ state, provenance }) => state === 'included' && provenance === 'modelled')
  const isMeasured = combineLabelled(machine.energy)?.label !== 'modelled'
  return [
    ['command', words.join(' ')],
    ['exit code', String(code)],
    ['time', `${durationSeconds.toFixed(3)} s`],
    ['machine', formatEnergySplit(machine.energy, { unit: 'J' })],
    ...(isSmall(report) ? [] : [['', formatEnergySplit(machine.energy)]]),
    ['', `exactly ${formatExactJoules(machine.energy)}`],
    [
      'command alone',
      `${formatEnergySplit(phases.active, { unit: 'J' })} · with its idle share ${formatEnergySplit(phases.energy, { unit: 'J', interval: false })}`,
    ],
    ['power', watts.length === 0 ? 'unavailable' : `${watts.join(' + ')} on average`],
    ['carbon', formatCarbonSplit(machine.carbon)],
    ...factorLines(report).map((line) => ['', line]),
    ...(isMeasured
      ? []
      : [['sensor', 'none that can be read here: these joules are modelled, not measured; see swift energy doctor']]),
    ...models.map(({ id, method, reason }) => ['model', `${id}: ${reason}; ${method}`]),
    ['ledger', folder],
  ]
}

function printSummary(rows: readonly (readonly string[])[], output: OutputMode): void {
  say(paint({ colour: output.colour && process.stderr.isTTY === true }, 'bold', 'swift energy run'))
  const width = Math.max(...rows.map(([label = '']) => label.length))
  for (const [label = '', text = ''] of rows) say(`${label.padEnd(width)}  ${text}`)
}

/** Runs the command inside a ledger, under its power limits. @returns its exit code */
async function metered(
  words: readonly string[],
  folder: string,
  wanted: readonly PowerLimit[],
  budget: EnergyBudget | undefined,
  sources: SourceOptions,
): Promise<number> {
  const { Ledger, PowerLimits } = await import('@swift/energy')
  const limits = await PowerLimits.open(wanted, { endOnSignal: false })
  await using _back = {
    [Symbol.asyncDispose]: async () => {
      for (const { message } of await limits.close()) say(`swift energy: ${message}`)
    },
  }
  const onEvent = ({ code, message }: LedgerEvent): void => say(`swift energy: ${code} ${message}`)
  await using ledger = await Ledger.open(folder, { ...sources, resume: 'never', followChildren: true, onEvent })
  for (const { code, message } of limits.notes) await ledger.note(code, message)
  return await runChild(words, ledger, limits, budget)
}

/** `swift energy run -- COMMAND …`: meters any program and passes its exit code on. */
export async function run({ values, positionals, output }: CommandCall): Promise<number> {
  const words = positionals.slice(1)
  if (words.length === 0) {
    throw new SwiftError({
      code: 'ERR_ARGUMENT_MISSING',
      asked: 'swift energy run without a command',
      found: 'no words after --',
      remedy: 'Write swift energy run -- python train.py --epochs 3',
    })
  }
  const energy = await import('@swift/energy')
  // Whatever is wrong with the options is said before the command has run for hours.
  const options = await reportOptions(values)
  const budget = await openBudget(values['budget'], options)
  const limits = typeof values['powerLimit'] === 'string' ? energy.parsePowerLimits(values['powerLimit']) : []
  const { deadline, duration } = values
  if (typeof deadline === 'string') await waitForLowCarbon({ deadline, duration: String(duration) }, options, say)
  for (const { setting, value, error } of await energy.PowerTuning.restore()) {
    say(`swift energy: an earlier process left ${setting} changed: ${error ?? `put back to ${value}`}`)
  }
  const folder = typeof values['out'] === 'string' ? values['out'] : defaultFolder()
  const code = await metered(words, folder, limits, budget, sourceOptions(values)).catch((error: unknown) => {
    if (!SwiftError.isInstance(error, 'ERR_COMMAND_START')) throw error
    printError(error, output)
    // As shells say it: 127 for a program that is not there, 126 for one that cannot be started.
    return { notStarted: (error.cause as NodeJS.ErrnoException).code === 'ENOENT' ? 127 : 126 }
  })
  if (typeof code === 'object') return code.notStarted
  // The command is over: a carbon service that has failed since takes neither its energy nor its exit code away.
  const report = await energy.Ledger.report(folder, { ...options, per: 'account', carbonFallback: true })
  if (output.json) {
    const text = JSON.stringify(
      { type: 'energy-run', command: words, exitCode: code, ledger: folder, ...report },
      (_key, value: unknown) => (typeof value === 'bigint' ? value.toString() : value),
    )
    say(text)
  } else printSummary(await lines(report, words, code, folder), output)
  return code
}
