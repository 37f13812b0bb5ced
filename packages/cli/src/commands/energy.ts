import { SwiftError } from '@swift/spec'
import type { Command, CommandCall } from '../arguments/command.ts'

type Action = (call: CommandCall) => Promise<number>

/** Actions by name; an action's code is loaded when it runs. */
const actions: Readonly<Record<string, () => Promise<Action>>> = {
  run: async () => (await import('./energy/run.ts')).run,
  doctor: async () => (await import('./energy/energy-doctor.ts')).doctor,
  report: async () => (await import('./energy/report.ts')).report,
  watch: async () => (await import('./energy/watch.ts')).watch,
  verify: async () => (await import('./energy/verify.ts')).verify,
  merge: async () => (await import('./energy/merge.ts')).merge,
  export: async () => (await import('./energy/export.ts')).exportLedger,
  import: async () => (await import('./energy/import.ts')).importCodecarbon,
  calibrate: async () => (await import('./energy/calibrate.ts')).calibrate,
  sources: async () => (await import('./energy/sources.ts')).sources,
}

/** `swift energy run|doctor|report|watch|verify|merge|export|import|calibrate|sources`. */
export const energy: Command = {
  name: 'energy',
  summary: 'meter any program, and look at the joule ledger of a run',
  usage: `${Object.keys(actions).join('|')} [RUN_DIR…] [options] [-- COMMAND]`,
  examples: [
    'swift energy run -- python train.py',
    'swift energy run --deadline 8h --carbon uk --zone GBR --budget 0.5kWh -- make all',
    'swift energy doctor',
    'swift energy report runs/first --per phase --zone FRA',
    'swift energy report runs/first --carbon electricity-maps --zone DE',
    'swift energy report --compare runs/first runs/second',
    'swift energy watch runs/first',
    'swift energy verify runs/first',
    'swift energy merge runs/rank-0 runs/rank-1',
    'swift energy export runs/first --format codecarbon --out emissions.csv',
    'swift energy import emissions.csv',
    'swift energy calibrate meter.csv runs/idle runs/half runs/full',
  ],
  options: async () => ({ energy: (await import('./energy/energy-options.ts')).energyOptions }),
  run: async (call) => {
    const [name] = call.positionals
    const load = name !== undefined && Object.hasOwn(actions, name) ? actions[name] : undefined
    if (load !== undefined) return (await load())(call)
    throw new SwiftError({
      code: 'ERR_ARGUMENT_UNEXPECTED',
      asked: `swift energy ${name ?? ''}`.trim(),
      found: 'energy needs one of its actions',
      remedy: `Actions are ${Object.keys(actions).join(', ')}`,
    })
  },
}
