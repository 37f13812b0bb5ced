import { relative } from 'node:path'
import { formatBytes, formatDuration } from '@swift/core'
import type { StepEvent } from '@swift/core'

/** Joules with a fitting unit. */
export function formatEnergy(joules: number): string {
  if (joules >= 3.6e5) return `${(joules / 3.6e6).toPrecision(3)} kWh`
  return joules >= 1000 ? `${(joules / 1000).toPrecision(3)} kJ` : `${joules.toPrecision(3)} J`
}

/** `12.3 W measured + 4.5 W modelled`; `unavailable` where there is neither. */
export function bySource(
  measured: number | undefined,
  modelled: number | undefined,
  format: (value: number) => string,
): string {
  const parts = [
    ...(measured === undefined ? [] : [`${format(measured)} measured`]),
    ...(modelled === undefined ? [] : [`${format(modelled)} modelled`]),
  ]
  return parts.length === 0 ? 'unavailable' : parts.join(' + ')
}

/** Watts. */
export function formatWatts(watts: number): string {
  return `${watts.toPrecision(3)} W`
}

/** A step as one line. */
export function stepLine(step: StepEvent): string {
  const energy = bySource(step.measuredJoules, step.modelledJoules, formatEnergy)
  return [
    `step ${step.step}/${step.totalSteps}`,
    `epoch ${step.epoch.toFixed(2)}`,
    `loss ${step.loss.toFixed(4)}`,
    `accuracy ${(100 * step.tokenAccuracy).toFixed(1)} %`,
    `norm ${step.gradientNorm.toPrecision(3)}`,
    `lr ${step.learningRate.toExponential(2)}`,
    `${Math.round(step.tokensPerSecond)} tokens/s`,
    formatBytes(step.peakBytes),
    energy,
    `${formatDuration(step.remainingMs / 1000)} left`,
  ].join(' · ')
}

/** A path as one would type it here: relative when that is shorter. */
export function formatPath(path: string): string {
  const short = relative('.', path)
  return short !== '' && short.length < path.length ? short : path
}
