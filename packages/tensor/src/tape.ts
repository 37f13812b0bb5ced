import { SwiftError, type RecomputePolicy } from '@swift/spec'
import { withCategory } from './category.ts'
import { clone } from './clone.ts'
import { keep, scope } from './scope.ts'
import type { TapeNode } from './tape-node.ts'
import { Tensor } from './tensor.ts'

/** Options of a tape. */
export interface TapeOptions {
  /** What is kept for backward and what is computed again. Default `none`: everything is kept. */
  readonly recompute?: RecomputePolicy
}

interface Gradient {
  readonly tensor: Tensor
  /** Whether nothing else refers to this memory, so that it may be added into. */
  readonly exclusive: boolean
}

let recording: Tape | undefined

/** The tape that records now, if any. */
export function currentTape(): Tape | undefined {
  return recording
}

function recordOn<T>(tape: Tape | undefined, body: () => T): T {
  const previous = recording
  recording = tape
  try {
    return body()
  } finally {
    recording = previous
  }
}

/** Runs `body` without recording. */
export function withoutTape<T>(body: () => T): T {
  return recordOn(undefined, body)
}

/**
 * A define-by-run tape: records the differentiable ops of {@link Tape.record} and replays them backwards once.
 *
 * It owns what backward needs and frees each saved tensor as its op is consumed. A tape that is not run backward must
 * be disposed (`using`).
 */
export class Tape {
  readonly recompute: RecomputePolicy
  #nodes: TapeNode[] = []

  constructor(options: TapeOptions = {}) {
    this.recompute = options.recompute ?? 'none'
  }

  /** Number of recorded ops. */
  get length(): number {
    return this.#nodes.length
  }

  /** Runs `body` in a scope, recording its differentiable ops; returns what it returns. */
  record<T>(body: () => T): T {
    return recordOn(this, () => withCategory('activations', () => scope(body)))
  }

  /** Appends a node; called by differentiable ops. */
  push(node: TapeNode): void {
    this.#nodes.push(node)
  }

  /**
   * Propagates gradients from `outputs` to every leaf that requires them and adds them to the leaves' `gradient`.
   *
   * @param outputs - tensors recorded by this tape
   * @param seeds - gradient of each output; may be left out for single elements (then 1)
   * @throws `ERR_TAPE_SEED` when a seed is missing or its shape differs
   */
  backward(outputs: Tensor | readonly Tensor[], seeds?: readonly (Tensor | undefined)[]): void {
    const roots = outputs instanceof Tensor ? [outputs] : outputs
    const gradients = new Map<Tensor, Gradient>()
    const previous = recording
    recording = undefined
    try {
      withCategory('gradients', () => {
        roots.forEach((root, index) => {
          const seed = seeds?.[index]
          gradients.set(
            root,
            seed === undefined
              ? { tensor: unitSeed(root), exclusive: true }
              : { tensor: seed.alias().detachFromScope(), exclusive: false },
          )
        })
        for (let index = this.#nodes.length - 1; index >= 0; index--) {
          consume(this.#nodes[index] as TapeNode, gradients)
        }
      })
    } finally {
      recording = previous
      for (const { tensor } of gradients.values()) tensor.release()
      this[Symbol.dispose]()
    }
  }

  /** Frees everything saved. */
  [Symbol.dispose](): void {
    const nodes = this.#nodes
    this.#nodes = []
    for (const node of nodes) node.release()
  }
}

function unitSeed(root: Tensor): Tensor {
  if (root.elements !== 1) {
    throw new SwiftError({
      code: 'ERR_TAPE_SEED',
      asked: `Backward from a tensor of shape [${root.shape.join(', ')}]`,
      found: 'no gradient to start from',
      remedy: 'Reduce it to one element, or pass its gradient as a seed',
    })
  }
  return root.device.tensor([1], [...root.shape]).detachFromScope()
}

function consume(node: TapeNode, gradients: Map<Tensor, Gradient>): void {
  const received = node.outputs.map((output) => gradients.get(output))
  if (received.every((gradient) => gradient === undefined)) {
    node.release()
    return
  }
  scope(() => {
    const incoming = received.map((gradient) => gradient?.tensor)
    const produced = node.backward(incoming)
    node.inputs.forEach((input, index) => {
      const gradient = produced[index]
      if (input === undefined || gradient === undefined || !input.requiresGrad) return
      const shared = incoming.includes(gradient) || produced.filter((other) => other === gradient).length > 1
      deposit(input, gradient, shared, gradients)
    })
    node.release()
  })
  for (const output of node.outputs) {
    gradients.get(output)?.tensor.release()
    gradients.delete(output)
  }
}

function deposit(input: Tensor, gradient: Tensor, shared: boolean, gradients: Map<Tensor, Gradient>): void {
  if (input.producer === undefined) {
    accumulateLeaf(input, gradient, shared)
    return
  }
  const present = gradients.get(input)
  if (present === undefined) {
    const owned = shared ? gradient.alias() : gradient
    gradients.set(input, { tensor: owned.detachFromScope(), exclusive: !shared })
  } else if (present.exclusive) {
    input.device.run('addScaled', { y: present.tensor, x: gradient }, { factor: 1 })
  } else {
    const [sum] = input.device.run('add', { a: present.tensor, b: gradient }) as [Tensor]
    present.tensor.release()
    gradients.set(input, { tensor: sum.detachFromScope(), exclusive: true })
  }
}

const leafGradients = new WeakMap<Tensor, Tensor>()

function accumulateLeaf(leaf: Tensor, gradient: Tensor, shared: boolean): void {
  const present = leafGradients.get(leaf)
  if (present !== undefined) leaf.device.run('addScaled', { y: present, x: gradient }, { factor: 1 })
  else if (shared) leafGradients.set(leaf, keep(clone(gradient)))
  else leafGradients.set(leaf, keep(gradient))
}

/** The accumulated gradient of a leaf, if any. */
export function gradientOf(leaf: Tensor): Tensor | undefined {
  return leafGradients.get(leaf)
}

/** Frees the accumulated gradient of a leaf. */
export function clearGradient(leaf: Tensor): void {
  leafGradients.get(leaf)?.release()
  leafGradients.delete(leaf)
}
