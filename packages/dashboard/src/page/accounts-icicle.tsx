import type { JSX } from 'preact'
import { useLayoutEffect, useMemo, useRef, useState } from 'preact/hooks'
import type { RunEnergy } from '../run-data.ts'
import { formatPercent, sumOfSplit } from '../view/format.ts'
import {
  accountTree,
  findNode,
  layOut,
  moveTo,
  pathTo,
  type IcicleCell,
  type IcicleMove,
  type IcicleNode,
} from '../view/icicle.ts'
import { assignColours } from '../view/stack.ts'
import { Card } from './card.tsx'
import { SplitValue } from './provenance.tsx'

const rowHeight = 40

const moves: Readonly<Record<string, IcicleMove>> = {
  ArrowLeft: 'left',
  ArrowRight: 'right',
  ArrowUp: 'up',
  ArrowDown: 'down',
  Home: 'first',
  End: 'last',
}

/** Phase path of a node without counters; empty for a kind of account. */
function phaseOf({ id }: IcicleNode): string {
  return id
    .split('/')
    .slice(2)
    .filter((name) => !/:\d+$/.test(name) && name !== '(itself)')
    .join('/')
}

function toneOf(node: IcicleNode, colours: ReadonlyMap<string, number>): string {
  const colour = node.children.length === 0 ? colours.get(phaseOf(node)) : undefined
  if (node.kind === 'phase' && colour !== undefined) return `tone-phase tone-${colour}`
  if (node.kind === 'idle' && colour !== undefined) return `tone-thin tone-${colour}`
  return node.kind === undefined || node.kind === 'phase' ? 'tone-plain' : `tone-plain kind-${node.kind}`
}

function Cell({
  cell,
  whole,
  tone,
  isSelected,
  onSelect,
  onZoom,
}: {
  readonly cell: IcicleCell
  readonly whole: number
  readonly tone: string
  readonly isSelected: boolean
  readonly onSelect: () => void
  readonly onZoom: () => void
}): JSX.Element {
  const { node, depth, left, width } = cell
  const share = whole > 0 ? sumOfSplit(node.energy) / whole : 0
  return (
    <button
      type="button"
      role="treeitem"
      aria-level={depth + 1}
      aria-selected={isSelected}
      tabIndex={isSelected ? 0 : -1}
      data-node={node.id}
      class={`cell ${tone}${isSelected ? ' is-selected' : ''}`}
      style={{
        left: `${100 * left}%`,
        width: `${100 * width}%`,
        top: `${depth * rowHeight}px`,
        height: `${rowHeight}px`,
      }}
      title={`${node.label} · ${formatPercent(share)} of the machine`}
      aria-label={`${node.label}, ${formatPercent(share)} of the machine`}
      onClick={onSelect}
      onDblClick={onZoom}
    >
      <span class="cell-label">{node.label}</span>
      <span class="cell-share">{formatPercent(share)}</span>
    </button>
  )
}

/** The accounts of a ledger as an icicle: width is energy, rows are levels. */
export function AccountsIcicle({ energy }: { readonly energy: RunEnergy }): JSX.Element {
  const counters = useMemo(
    () => new Set(energy.accounts.flatMap(({ path }) => path.match(/[^/]+:\d+/g) ?? [])).size,
    [energy],
  )
  const [merge, setMerge] = useState(counters > 12)
  const [zoomId, setZoomId] = useState('machine')
  const [selectedId, setSelectedId] = useState('machine')
  const box = useRef<HTMLDivElement>(null)
  const byKey = useRef(false)
  const root = useMemo(() => accountTree(energy.accounts, merge), [energy, merge])
  const zoomed = findNode(root, zoomId) ?? root
  const cells = useMemo(() => layOut(zoomed), [zoomed])
  const selected = cells.find(({ node }) => node.id === selectedId)?.node ?? zoomed
  const rows = Math.max(...cells.map(({ depth }) => depth)) + 1
  const fullRows = useMemo(() => Math.max(...layOut(root).map(({ depth }) => depth)) + 1, [root])
  const whole = sumOfSplit(root.energy)
  const colours = useMemo(() => {
    const leaves = layOut(root).filter(({ node }) => node.children.length === 0 && node.kind === 'phase')
    return assignColours([...new Set(leaves.map(({ node }) => phaseOf(node)))].filter((name) => name !== ''))
  }, [root])

  // With the render that the key asked for: after it, another key could have come, and this would take its turn.
  useLayoutEffect(() => {
    if (!byKey.current) return
    byKey.current = false
    box.current?.querySelector<HTMLElement>('[tabindex="0"]')?.focus()
  })

  const zoom = (id: string): void => {
    setZoomId(id)
    setSelectedId(id)
  }
  const zoomOut = (): void => {
    const parent = pathTo(root, zoomed.id).at(-2)
    if (parent !== undefined) setZoomId(parent.id)
  }
  const onKeyDown = (event: KeyboardEvent): void => {
    const move = moves[event.key]
    if (move !== undefined) setSelectedId(moveTo(cells, selected.id, move))
    else if (event.key === 'Enter' || event.key === ' ') zoom(selected.id)
    else if (event.key === 'Escape' || event.key === 'Backspace') zoomOut()
    else return
    byKey.current = true
    event.preventDefault()
  }
  return (
    <Card
      id="accounts"
      title="Accounts"
      lead="Every joule has one owner. Width is energy; a row divides the row above it."
      controls={
        counters < 2 ? undefined : (
          <label class="check">
            <input type="checkbox" checked={merge} onChange={() => setMerge(!merge)} />
            <span>Merge epochs</span>
          </label>
        )
      }
    >
      <nav class="crumbs" aria-label="Accounts shown">
        {pathTo(root, zoomed.id).map((node, index, all) => (
          <span key={node.id}>
            {index > 0 ? <span aria-hidden="true"> / </span> : undefined}
            {index === all.length - 1 ? (
              <span aria-current="true">{node.label}</span>
            ) : (
              <button type="button" class="link" onClick={() => zoom(node.id)}>
                {node.label}
              </button>
            )}
          </span>
        ))}
      </nav>
      <div
        ref={box}
        class="icicle"
        role="tree"
        aria-label="Accounts by energy. Arrow keys move, Enter looks inside, Escape goes back out."
        style={{ height: `${Math.max(rows, fullRows) * rowHeight}px` }}
        onKeyDown={onKeyDown}
      >
        {cells.map((cell) => (
          <Cell
            key={cell.node.id}
            cell={cell}
            whole={whole}
            tone={toneOf(cell.node, colours)}
            isSelected={cell.node.id === selected.id}
            onSelect={() => setSelectedId(cell.node.id)}
            onZoom={() => zoom(cell.node.id)}
          />
        ))}
      </div>
      <div class="account" aria-live="polite">
        <div class="account-name">
          <strong>
            {pathTo(root, selected.id)
              .map(({ label }) => label)
              .join(' / ')}
          </strong>
          <span class="muted">{formatPercent(whole > 0 ? sumOfSplit(selected.energy) / whole : 0)} of the machine</span>
        </div>
        <SplitValue measure="joules" split={selected.energy} />
        {selected.children.length > 0 && selected.id !== zoomed.id ? (
          <button type="button" class="button" onClick={() => zoom(selected.id)}>
            Look inside
          </button>
        ) : (
          <span />
        )}
      </div>
    </Card>
  )
}
