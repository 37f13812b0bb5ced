import { useEffect, useState } from 'preact/hooks'
import type { DashboardData } from '../run-data.ts'

/** How the page hears of news. `file`: it does not. */
export type Connection = 'live' | 'reconnecting' | 'file'

/** The data of the page: what it came with, then what the server sends. */
export function useData(initial: DashboardData): { readonly data: DashboardData; readonly connection: Connection } {
  const [data, setData] = useState(initial)
  const [connection, setConnection] = useState<Connection>(initial.mode === 'live' ? 'live' : 'file')
  useEffect(() => {
    if (initial.mode !== 'live') return
    const source = new EventSource('events')
    source.addEventListener('data', (event) =>
      setData(JSON.parse((event as MessageEvent<string>).data) as DashboardData),
    )
    source.addEventListener('open', () => setConnection('live'))
    source.addEventListener('error', () => setConnection('reconnecting'))
    return () => source.close()
  }, [])
  return { data, connection }
}

/** What the reader chose; `auto` follows the system. */
export type ThemeChoice = 'auto' | 'light' | 'dark'

const themeKey = 'swift-dashboard-theme'

function readTheme(): ThemeChoice {
  const chosen = document.documentElement.dataset['theme']
  return chosen === 'light' || chosen === 'dark' ? chosen : 'auto'
}

/** The theme, whether it is dark now, and how to choose one. The choice is kept where the browser permits. */
export function useTheme(): {
  readonly choice: ThemeChoice
  readonly isDark: boolean
  readonly choose: (choice: ThemeChoice) => void
} {
  const [choice, setChoice] = useState(readTheme)
  const [systemIsDark, setSystemIsDark] = useState(() => matchMedia('(prefers-color-scheme: dark)').matches)
  useEffect(() => {
    const query = matchMedia('(prefers-color-scheme: dark)')
    const listener = (): void => setSystemIsDark(query.matches)
    query.addEventListener('change', listener)
    return () => query.removeEventListener('change', listener)
  }, [])
  const choose = (next: ThemeChoice): void => {
    if (next === 'auto') delete document.documentElement.dataset['theme']
    else document.documentElement.dataset['theme'] = next
    try {
      if (next === 'auto') localStorage.removeItem(themeKey)
      else localStorage.setItem(themeKey, next)
    } catch {
      // A browser may refuse storage to a page from disk; the choice then lasts as long as the page.
    }
    setChoice(next)
  }
  return { choice, isDark: choice === 'dark' || (choice === 'auto' && systemIsDark), choose }
}
