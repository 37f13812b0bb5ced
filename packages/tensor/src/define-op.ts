import { claimRecipe } from './recipe.ts'
import { currentTape, withoutTape } from './tape.ts'
import type { SavedTensor, TapeNode } from './tape-node.ts'
import type { Tensor } from './tensor.ts'

/** What `forward` sees besides its inputs. */
export interface ForwardContext {
  /** Whether backward will be asked for the gradient of input `index`. */
  needs(index: number): boolean
  /** Whether a tape records this call. */
  readonly recording: boolean
  /**
   * Whether the tape would keep a recipe of this tensor instead of the tensor: the policy is `selective` and a cheap op
   * made it.
   */
  keepsRecipe(tensor: Tensor): boolean
  /** Keeps tensors for backward, in this order. Does nothing when no tape records. */
  save(...tensors: readonly (Tensor | undefined)[]): void
}

/** What `backward` and `recompute` see. */
export interface BackwardContext {
  /** Whether the gradient of input `index` is wanted. */
  needs(index: number): boolean
  /** Saved tensor `index`. */
  saved(index: number): Tensor
  /** Saved tensor `index`, when one was saved there. */
  savedOptional(index: number): Tensor | undefined
}

/** A differentiable op: a forward and backward pair over native ops. */
export interface OpDefinition<Inputs extends readonly (Tensor | undefined)[], Options> {
  /** Name, for profiles and messages. */
  readonly name: string
  /** Computes the outputs and saves what backward needs. */
  forward(inputs: Inputs, options: Options, context: ForwardContext): Tensor | readonly Tensor[]
  /** Gradients of the inputs, in order; `undefined` where none is needed. */
  backward(
    context: BackwardContext,
    gradients: readonly (Tensor | undefined)[],
    options: Options,
  ): readonly (Tensor | undefined)[]
  /**
   * Computes output 0 again from what was saved. Ops that have it are cheap: under the `selective` policy the tape
   * keeps this recipe instead of the output for the ops that consume it.
   */
  recompute?(context: BackwardContext, options: Options): Tensor
  /** Index of a saved tensor that `recompute` needs and `forward` does not always save; without it there is no recipe. */
  readonly recomputeNeeds?: number
}

/**
 * Makes a differentiable op. The returned function runs `forward` and, while a tape records and an input requires a
 * gradient, puts `backward` on the tape. Inputs that require no gradient cost no gradient work.
 *
 * @example
 * const square = defineOp<readonly [Tensor], object>({
 *   name: 'square',
 *   forward: ([x], _options, context) => { context.save(x); return mul(x, x) },
 *   backward: (context, [dy]) => [scale(mul(dy as Tensor, context.saved(0)), 2)],
 * })
 * const y = square([x], {})
 */
export function defineOp<Inputs extends readonly (Tensor | undefined)[], Options>(
  definition: OpDefinition<Inputs, Options>,
): (inputs: Inputs, options: Options) => Tensor[] {
  return (inputs, options) => {
    const tape = currentTape()
    const needed = inputs.map((input) => input?.requiresGrad === true)
    const recording = tape !== undefined && needed.includes(true)
    const saved: (SavedTensor | undefined)[] = []
    const needs = (index: number): boolean => needed[index] === true
    const save = (...tensors: readonly (Tensor | undefined)[]): void => {
      if (!recording) return
      for (const tensor of tensors)
        saved.push(tensor === undefined ? undefined : claim(tensor, tape.recompute === 'selective'))
    }
    const keepsRecipe = (tensor: Tensor): boolean =>
      recording && tape.recompute === 'selective' && recipeOf(tensor) !== undefined
    const context: ForwardContext = { needs, recording, keepsRecipe, save }
    const made = withoutTape(() => definition.forward(inputs, options, context))
    const outputs = Array.isArray(made) ? [...(made as readonly Tensor[])] : [made as Tensor]
    if (recording) {
      const node = makeNode(definition, inputs, outputs, saved, options, needs)
      for (const output of outputs) {
        output.requiresGrad = true
        output.producer = node
      }
      tape.push(node)
    }
    return outputs
  }
}

/** The op that can compute a tensor again, if any. */
function recipeOf(tensor: Tensor): TapeNode | undefined {
  const { producer } = tensor
  return producer?.recompute !== undefined && producer.outputs[0] === tensor ? producer : undefined
}

function claim(tensor: Tensor, selective: boolean): SavedTensor {
  const recipe = selective ? recipeOf(tensor) : undefined
  if (recipe !== undefined) return claimRecipe(recipe)
  const alias = tensor.alias().detachFromScope()
  return { get: () => alias, release: () => alias.release() }
}

function makeNode<Inputs extends readonly (Tensor | undefined)[], Options>(
  definition: OpDefinition<Inputs, Options>,
  inputs: Inputs,
  outputs: readonly Tensor[],
  saved: (SavedTensor | undefined)[],
  options: Options,
  needs: (index: number) => boolean,
): TapeNode {
  const savedOptional = (index: number): Tensor | undefined => saved[index]?.get()
  const context: BackwardContext = {
    needs,
    savedOptional,
    saved: (index) => {
      const tensor = savedOptional(index)
      if (tensor === undefined) throw new RangeError(`${definition.name} saved no tensor ${index}`)
      return tensor
    },
  }
  const { recompute, recomputeNeeds } = definition
  const isComplete = recomputeNeeds === undefined || saved[recomputeNeeds] !== undefined
  return {
    name: definition.name,
    inputs,
    outputs,
    recomputed: undefined,
    recompute:
      recompute === undefined || !isComplete ? undefined : () => withoutTape(() => recompute(context, options)),
    backward: (gradients) => definition.backward(context, gradients, options),
    release: () => {
      for (const entry of saved) entry?.release()
      saved.length = 0
    },
  }
}
