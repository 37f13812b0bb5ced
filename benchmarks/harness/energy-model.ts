import { Ledger } from '@swift/energy'

/** Share of TDP by load: the curve of the CPU-time model of the ledger (Teads 2021), linear in between. */
const curve: readonly (readonly [load: number, share: number])[] = [
  [0, 0.12],
  [0.1, 0.32],
  [0.5, 0.75],
  [1, 1.02],
]

/** Share of the thermal design power at a load of 0 … 1. */
export function loadFactor(load: number): number {
  const bounded = Math.min(1, Math.max(0, load))
  for (const [index, [to, high]] of curve.entries()) {
    const [from, low] = curve[index - 1] ?? [0, high]
    if (bounded <= to) return to === from ? high : low + ((high - low) * (bounded - from)) / (to - from)
  }
  return 1.02
}

/** Watts of the machine's threads by the ledger's CPU-time model; undefined where its source is another. */
export function designWatts(): number | undefined {
  const model = Ledger.sources().find(({ id }) => id === 'cpu_time_model')
  const watts = /([\d.]+) W TDP for/.exec(model?.method ?? '')?.[1]
  return watts === undefined ? undefined : Number(watts)
}

/**
 * Joules of a process by its CPU time, for ours and for a peer alike: TDP × curve(load) × time, as if it were alone on
 * the machine.
 * @param cpuSeconds - CPU time of the process in `seconds`
 */
export function modelledJoules(watts: number, cpuSeconds: number, seconds: number, cores: number): number {
  return watts * loadFactor(cpuSeconds / (seconds * cores)) * seconds
}
