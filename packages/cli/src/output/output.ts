/** How a command prints. */
export interface OutputMode {
  /** One JSON object per line on standard output. */
  readonly json: boolean
  /** Whether a live view may redraw the terminal. */
  readonly live: boolean
  /** Whether colours are used. */
  readonly colour: boolean
  /** Whether errors print their stack. */
  readonly debug: boolean
}

/** Chooses the mode from the flags and the terminal. */
export function outputMode(flags: {
  readonly json: boolean
  readonly plain: boolean
  readonly debug: boolean
}): OutputMode {
  const terminal = process.stdout.isTTY === true && process.env['TERM'] !== 'dumb'
  return {
    json: flags.json,
    live: terminal && !flags.json && !flags.plain && process.env['CI'] === undefined,
    colour: terminal && !flags.json && (process.env['NO_COLOR'] ?? '') === '',
    debug: flags.debug,
  }
}

/** Prints one JSON line; big integers become decimal strings. */
export function printJson(value: unknown): void {
  process.stdout.write(
    `${JSON.stringify(value, (_key, entry: unknown) => (typeof entry === 'bigint' ? entry.toString() : entry))}\n`,
  )
}

/** Prints a line of text. */
export function printLine(text = ''): void {
  process.stdout.write(`${text}\n`)
}

const codes = { bold: 1, dim: 2, red: 31, green: 32, yellow: 33, cyan: 36 } as const

/** Colours text where the mode allows it. */
export function paint(mode: Pick<OutputMode, 'colour'>, style: keyof typeof codes, text: string): string {
  return mode.colour ? `\u001b[${codes[style]}m${text}\u001b[0m` : text
}
