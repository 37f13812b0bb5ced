/** A colour theme: CSS custom properties without their dashes. */
export interface Theme {
  /** Behind the cards. */
  readonly page: string
  /** Behind text and charts. */
  readonly surface: string
  readonly raised: string
  readonly text: string
  /** Second text. */
  readonly muted: string
  /** Lines that only divide. */
  readonly rule: string
  /** Outlines of controls, which must be seen. */
  readonly outline: string
  readonly accent: string
  readonly onAccent: string
  readonly focus: string
  readonly good: string
  readonly warning: string
  readonly danger: string
  /** Neutral fills of accounts that are no phase, from the strongest on. */
  readonly neutrals: readonly string[]
  /**
   * Phases. Chosen by search: each at least 3:1 against the surface, and each pair apart also for protanopia,
   * deuteranopia and tritanopia.
   */
  readonly phases: readonly string[]
}

/** Light. */
export const light: Theme = {
  page: '#f3f1ec',
  surface: '#ffffff',
  raised: '#faf9f6',
  text: '#191c21',
  muted: '#565d67',
  rule: '#e2dfd7',
  outline: '#858b93',
  accent: '#3a49b8',
  onAccent: '#ffffff',
  focus: '#3a49b8',
  good: '#1c6e52',
  warning: '#8a5300',
  danger: '#a8291c',
  neutrals: ['#7d858f', '#a4aab2', '#8f8578', '#5f6670', '#b7b0a4', '#c4c8cd'],
  phases: ['#4857cc', '#e5640e', '#3ea19d', '#952c81', '#454600', '#aa7af5'],
}

/** Dark. */
export const dark: Theme = {
  page: '#0e1116',
  surface: '#161a20',
  raised: '#1c2129',
  text: '#eceef1',
  muted: '#a7afba',
  rule: '#2a313b',
  outline: '#6f7885',
  accent: '#9db8ff',
  onAccent: '#0e1116',
  focus: '#9db8ff',
  good: '#6fcfa8',
  warning: '#f0b45c',
  danger: '#ff9a8c',
  neutrals: ['#8a929d', '#656d78', '#9a9082', '#b3bac3', '#77705f', '#4d545e'],
  phases: ['#8ca2ff', '#f5822a', '#2b7f7c', '#e3a5bd', '#eee9a0', '#9a48d0'],
}

function channel(hex: string, at: number): number {
  const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255
  return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4
}

/** Linear red, green and blue of `#rrggbb`. */
export function linearRgb(hex: string): readonly [number, number, number] {
  return [channel(hex, 1), channel(hex, 3), channel(hex, 5)]
}

/** Contrast ratio of two colours after WCAG 2.2, from 1 to 21. */
export function contrast(first: string, second: string): number {
  const luminance = (hex: string): number => {
    const [red, green, blue] = linearRgb(hex)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
  }
  const [low = 0, high = 0] = [luminance(first), luminance(second)].toSorted((a, b) => a - b)
  return (high + 0.05) / (low + 0.05)
}

/** Text on a fill: whichever of the two is read better. */
export function textOn(fill: string): string {
  return contrast(fill, '#ffffff') >= contrast(fill, '#10131a') ? '#ffffff' : '#10131a'
}

/** The theme as CSS declarations. */
export function themeCss(theme: Theme): string {
  return Object.entries(theme)
    .flatMap(([name, value]) =>
      typeof value === 'string'
        ? [`--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}: ${value};`]
        : (value as readonly string[]).map((colour, index) => `--${name}-${index}: ${colour};`),
    )
    .join(' ')
}
