import type { JSX } from 'preact'

/** One choice of a {@link Segmented}. */
export interface Segment<Value extends string> {
  readonly value: Value
  readonly label: string
  readonly isDisabled?: boolean
}

/** A group of radio buttons that looks like one control. Arrow keys move, as in every group of radio buttons. */
export function Segmented<Value extends string>({
  label,
  name,
  value,
  segments,
  onChange,
}: {
  /** What is chosen, for those who hear the page. */
  readonly label: string
  readonly name: string
  readonly value: Value
  readonly segments: readonly Segment<Value>[]
  readonly onChange: (value: Value) => void
}): JSX.Element {
  return (
    <fieldset class="segmented">
      <legend class="visually-hidden">{label}</legend>
      {segments.map((segment) => (
        <label key={segment.value} class={segment.value === value ? 'is-chosen' : ''}>
          <input
            type="radio"
            name={name}
            value={segment.value}
            checked={segment.value === value}
            disabled={segment.isDisabled === true}
            onChange={() => onChange(segment.value)}
          />
          <span>{segment.label}</span>
        </label>
      ))}
    </fieldset>
  )
}
