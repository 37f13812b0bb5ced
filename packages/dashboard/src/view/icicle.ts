import type { AccountKind } from '@swift/spec'
import type { AccountEntry, Quantity, QuantitySplit } from '../run-data.ts'
import { sumOfSplit } from './format.ts'
import { accountLabels } from './stack.ts'

/** An account with everything below it. */
export interface IcicleNode {
  /** Names from the root, joined by `/`. */
  readonly id: string
  readonly label: string
  readonly kind: AccountKind | undefined
  /** Joules, everything below included. */
  readonly energy: QuantitySplit
  readonly children: readonly IcicleNode[]
}

/** A cell to draw: a node with its place. Widths are fractions of the whole. */
export interface IcicleCell {
  readonly node: IcicleNode
  readonly depth: number
  readonly left: number
  readonly width: number
}

/** A move from one cell to another. */
export type IcicleMove = 'left' | 'right' | 'up' | 'down' | 'first' | 'last'

interface Draft {
  label: string
  kind: AccountKind | undefined
  own: QuantitySplit | undefined
  children: Map<string, Draft>
}

const kindOrder: readonly AccountKind[] = [
  'phase',
  'idle',
  'other_tenants',
  'unattributed',
  'rework',
  'gap',
  'overhead',
]

function addQuantities(left: Quantity | undefined, right: Quantity | undefined): Quantity | undefined {
  if (left === undefined || right === undefined) return left ?? right
  return { value: left.value + right.value, low: left.low + right.low, high: left.high + right.high }
}

/** Class by class; intervals are added as fully correlated, which never narrows them. */
export function addSplits(left: QuantitySplit, right: QuantitySplit): QuantitySplit {
  const measured = addQuantities(left.measured, right.measured)
  const modelled = addQuantities(left.modelled, right.modelled)
  return { ...(measured === undefined ? {} : { measured }), ...(modelled === undefined ? {} : { modelled }) }
}

function draft(label: string, kind: AccountKind | undefined): Draft {
  return { label, kind, own: undefined, children: new Map() }
}

function child(parent: Draft, name: string, kind: AccountKind | undefined, label = name): Draft {
  let found = parent.children.get(name)
  if (found === undefined) {
    found = draft(label, kind)
    parent.children.set(name, found)
  }
  return found
}

const topLabels: Readonly<Record<AccountKind, string>> = { ...accountLabels, idle: 'idle' }

function finish({ label, kind, own, children }: Draft, id: string): IcicleNode {
  const finished = [...children].map(([name, below]) => finish(below, `${id}/${name}`))
  if (own !== undefined && finished.length > 0) {
    const isIdle = kind === 'idle' && id.split('/').length === 2
    const itself = isIdle ? 'outside phases' : 'itself'
    finished.push({ id: `${id}/(itself)`, label: itself, kind, energy: own, children: [] })
  }
  const energy = finished.length === 0 ? (own ?? {}) : finished.map((node) => node.energy).reduce(addSplits, {})
  return { id, label, kind, energy, children: finished }
}

/**
 * The accounts of a ledger as a tree: kinds of account first, then the parts of phase paths.
 * @param mergeCounters put all of `epoch:0`, `epoch:1`, … together
 */
export function accountTree(accounts: readonly AccountEntry[], mergeCounters: boolean): IcicleNode {
  const root = draft('machine', undefined)
  const ordered = accounts.toSorted((a, b) => kindOrder.indexOf(a.kind) - kindOrder.indexOf(b.kind))
  for (const { kind, path, energy } of ordered) {
    let place = child(root, kind, kind, topLabels[kind])
    for (const name of path.split('/')) {
      if (name === '' || (mergeCounters && /:\d+$/.test(name))) continue
      place = child(place, name, kind, name.replace(':', ' '))
    }
    place.own = place.own === undefined ? energy : addSplits(place.own, energy)
  }
  return finish(root, 'machine')
}

/** The node with this id; undefined where there is none. */
export function findNode(root: IcicleNode, id: string): IcicleNode | undefined {
  if (root.id === id) return root
  const next = root.children.find((node) => id === node.id || id.startsWith(`${node.id}/`))
  return next && findNode(next, id)
}

/** Nodes from the root to this id. */
export function pathTo(root: IcicleNode, id: string): readonly IcicleNode[] {
  if (root.id === id) return [root]
  const next = root.children.find((node) => id === node.id || id.startsWith(`${node.id}/`))
  return next === undefined ? [root] : [root, ...pathTo(next, id)]
}

/** Cells of a node and everything below it; the node itself is as wide as the whole. */
export function layOut(node: IcicleNode, depth = 0, left = 0, width = 1): IcicleCell[] {
  const whole = sumOfSplit(node.energy)
  const cells: IcicleCell[] = [{ node, depth, left, width }]
  let at = left
  for (const below of node.children) {
    const share = whole > 0 ? (width * sumOfSplit(below.energy)) / whole : 0
    cells.push(...layOut(below, depth + 1, at, share))
    at += share
  }
  return cells
}

/** The cell that an arrow key leads to; the same where there is none. */
export function moveTo(cells: readonly IcicleCell[], id: string, move: IcicleMove): string {
  const current = cells.find(({ node }) => node.id === id)
  if (current === undefined) return cells[0]?.node.id ?? id
  const row = cells.filter(({ depth }) => depth === current.depth)
  const at = row.indexOf(current)
  const parentId = current.node.id.slice(0, current.node.id.lastIndexOf('/'))
  const target = {
    left: row[at - 1],
    right: row[at + 1],
    first: row[0],
    last: row.at(-1),
    up: cells.find(({ node }) => node.id === parentId),
    down: cells.find(({ node }) => node.id === current.node.children[0]?.id),
  }[move]
  return target?.node.id ?? id
}
