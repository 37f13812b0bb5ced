const byteUnits = ['B', 'KiB', 'MiB', 'GiB', 'TiB']

function scaled(value: number, base: number, units: readonly string[]): string {
  let index = 0
  let rest = value
  while (Math.abs(rest) >= base && index < units.length - 1) {
    rest /= base
    index += 1
  }
  const digits = index === 0 || Math.abs(rest) >= 100 ? 0 : Math.abs(rest) >= 10 ? 1 : 2
  return `${rest.toFixed(digits)} ${units[index] ?? ''}`.trimEnd()
}

/** `1.50 GiB`. */
export function formatBytes(bytes: number): string {
  return scaled(bytes, 1024, byteUnits)
}

/** `3.21 TFLOP`. */
export function formatFlops(flops: number): string {
  return scaled(flops, 1000, ['FLOP', 'kFLOP', 'MFLOP', 'GFLOP', 'TFLOP', 'PFLOP', 'EFLOP'])
}

/** `1.23 M` for counts such as parameters and tokens. */
export function formatCount(count: number): string {
  return scaled(count, 1000, ['', 'k', 'M', 'G', 'T'])
}

/** `1 h 02 min`, `3 min 05 s`, `4.2 s`, `120 ms`. */
export function formatDuration(seconds: number): string {
  if (!Number.isFinite(seconds)) return 'unknown'
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`
  if (seconds < 60) return `${seconds.toFixed(1)} s`
  const whole = Math.round(seconds)
  const minutes = Math.floor(whole / 60)
  if (minutes < 60) return `${minutes} min ${String(whole % 60).padStart(2, '0')} s`
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, '0')} min`
}
