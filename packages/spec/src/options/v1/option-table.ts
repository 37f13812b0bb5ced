/** One option: its type, default and meaning. The same table drives TypeScript, YAML/JSON files and the command line. */
export interface OptionDefinition {
  /** JSON type; a `…[]` is a list, on the command line separated by commas. */
  readonly type: 'string' | 'number' | 'integer' | 'boolean' | 'string[]' | 'object'
  /** One sentence; units where there are any. */
  readonly description: string
  /** Value when it is left out; absent when the option is required or derived. */
  readonly default?: unknown
  /** How a missing value is derived, for `--help`, e.g. `8 × r`. */
  readonly derived?: string
  /** Allowed values. */
  readonly choices?: readonly string[]
  /** Smallest allowed number. */
  readonly minimum?: number
  /** Largest allowed number. */
  readonly maximum?: number
  /** Whether it must be given. */
  readonly required?: boolean
}

/** Options by name, in camelCase; the command line spells them in kebab-case. */
export type OptionTable = Readonly<Record<string, OptionDefinition>>
