import type { JSX } from 'preact'
import { useCallback, useState } from 'preact/hooks'
import type { DashboardData, RunData, RunState } from '../run-data.ts'
import { phaseColours } from '../view/stack.ts'
import { AccountsIcicle } from './accounts-icicle.tsx'
import { Card } from './card.tsx'
import { CompareRuns } from './compare-runs.tsx'
import { EnergyOverTime } from './energy-over-time.tsx'
import { useData, useTheme, type Connection, type ThemeChoice } from './hooks.ts'
import { LossChart, maximumLines } from './loss-chart.tsx'
import { Problems } from './problems.tsx'
import { Segmented } from './segmented.tsx'
import { Sources } from './sources.tsx'
import { Summary } from './summary.tsx'

const stateLabels: Readonly<Record<RunState, string>> = {
  running: 'running',
  finished: 'finished',
  stopped: 'stopped',
  empty: 'nothing yet',
}

function describeTime(unixMs: number): string {
  return new Date(unixMs).toLocaleString('en-GB', { dateStyle: 'medium', timeStyle: 'short' })
}

const connectionLabels: Readonly<Record<Connection, string>> = {
  live: 'live',
  reconnecting: 'no connection, trying again',
  file: 'a saved report',
}

function TopBar({
  data,
  connection,
  theme,
  onTheme,
}: {
  readonly data: DashboardData
  readonly connection: Connection
  readonly theme: ThemeChoice
  readonly onTheme: (choice: ThemeChoice) => void
}): JSX.Element {
  return (
    <header class="top">
      <a class="skip" href="#main">
        Skip to the figures
      </a>
      <div class="brand">
        <svg width="26" height="26" viewBox="0 0 26 26" aria-hidden="true">
          <rect x="1" y="1" width="24" height="24" rx="6" class="brand-box" />
          <path d="M6 8h14M6 12.5h9M6 17h14M6 19.6h14" class="brand-lines" />
        </svg>
        <h1>Joule ledger</h1>
      </div>
      <div class="top-right">
        <span class={`connection connection-${connection}`} role="status">
          <span class="dot" aria-hidden="true" />
          {connectionLabels[connection]}
          {connection === 'file' ? ` of ${describeTime(data.madeUnixMs)}` : ''}
        </span>
        {data.mode === 'live' ? (
          <a class="button" href="export.html" download>
            Save as file
          </a>
        ) : undefined}
        <Segmented
          label="Colours"
          name="theme"
          value={theme}
          segments={[
            { value: 'auto', label: 'Auto' },
            { value: 'light', label: 'Light' },
            { value: 'dark', label: 'Dark' },
          ]}
          onChange={onTheme}
        />
      </div>
    </header>
  )
}

function RunPicker({
  runs,
  selected,
  onSelect,
}: {
  readonly runs: readonly RunData[]
  readonly selected: RunData
  readonly onSelect: (run: RunData) => void
}): JSX.Element | undefined {
  if (runs.length < 2) return undefined
  return (
    <label class="picker">
      <span class="visually-hidden">Run</span>
      <select
        value={selected.id}
        onChange={(event) => {
          const run = runs.find(({ id }) => id === event.currentTarget.value)
          if (run !== undefined) onSelect(run)
        }}
      >
        {runs.map((run) => (
          <option key={run.id} value={run.id}>
            {run.name} ({stateLabels[run.state]})
          </option>
        ))}
      </select>
    </label>
  )
}

function RunHead({ run, picker }: { readonly run: RunData; readonly picker: JSX.Element }): JSX.Element {
  const reason = run.reason === undefined || run.reason === run.state ? '' : `, ${run.reason}`
  return (
    <div class="run-head">
      <div class="run-title">
        <h2>{run.name}</h2>
        <span class={`state state-${run.state}`}>
          <span class="dot" aria-hidden="true" />
          {stateLabels[run.state]}
          {reason}
        </span>
      </div>
      <p class="muted run-place">
        <span>{run.folder}</span>
        {run.startedUnixMs === undefined ? undefined : <span>began {describeTime(run.startedUnixMs)}</span>}
        {run.energy === undefined ? undefined : <span>ledger {run.energy.runId}</span>}
      </p>
      {picker}
    </div>
  )
}

/** The whole page. */
export function App({ initial }: { readonly initial: DashboardData }): JSX.Element {
  const { data, connection } = useData(initial)
  const { choice, isDark, choose } = useTheme()
  const [selectedId, setSelectedId] = useState<string | undefined>(undefined)
  const [drawn, setDrawn] = useState<ReadonlyMap<string, boolean>>(new Map())
  const { runs } = data
  const selected = runs.find(({ id }) => id === selectedId) ?? runs[0]
  const hasLoss = ({ log }: RunData): boolean => log.length > 0
  const isDrawn = (run: RunData): boolean =>
    run.id === selected?.id ||
    (drawn.get(run.id) ?? runs.filter(hasLoss).findIndex(({ id }) => id === run.id) < maximumLines)
  const colourOf = useCallback(
    (run: RunData): number =>
      Math.max(
        0,
        runs.findIndex(({ id }) => id === run.id),
      ) % phaseColours,
    [runs],
  )
  const onSelect = (run: RunData): void => setSelectedId(run.id)
  if (selected === undefined) {
    return (
      <>
        <TopBar data={data} connection={connection} theme={choice} onTheme={choose} />
        <main id="main">
          <Problems problems={data.problems} />
          <Card
            id="none"
            title="No run yet"
            lead="This page shows runs as soon as one writes into the folders it watches."
          >
            <p>
              Start one with <code>swift sft --output-dir runs/first …</code>
            </p>
          </Card>
        </main>
      </>
    )
  }
  const lines = runs.filter((run) => isDrawn(run) && hasLoss(run))
  return (
    <>
      <TopBar data={data} connection={connection} theme={choice} onTheme={choose} />
      <main id="main" tabIndex={-1}>
        <RunHead run={selected} picker={<RunPicker runs={runs} selected={selected} onSelect={onSelect} />} />
        <Problems problems={[...data.problems, ...selected.problems]} />
        <Summary run={selected} />
        {selected.energy?.series === undefined ? undefined : (
          <EnergyOverTime key={selected.id} run={selected} series={selected.energy.series} isDark={isDark} />
        )}
        {lines.length === 0 ? undefined : (
          <LossChart runs={lines} selected={selected} colourOf={colourOf} isDark={isDark} />
        )}
        {selected.energy === undefined ? undefined : <AccountsIcicle key={selected.id} energy={selected.energy} />}
        {runs.length < 2 ? undefined : (
          <CompareRuns
            runs={runs}
            selected={selected}
            isDrawn={isDrawn}
            colourOf={colourOf}
            onSelect={onSelect}
            onDraw={(run, value) => setDrawn(new Map(drawn).set(run.id, value))}
          />
        )}
        <Sources run={selected} />
        <footer class="foot muted">
          Measured, modelled and unavailable energy are three things and are never added without saying so.
          {runs.length < 2 ? ' To compare runs, name several: swift dashboard runs/first runs/second.' : ''}
        </footer>
      </main>
    </>
  )
}
