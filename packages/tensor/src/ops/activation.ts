import { defineOp } from '../define-op.ts'
import type { Tensor } from '../tensor.ts'

type Flags = Readonly<Record<string, boolean>>

function unary(name: string): (inputs: readonly [Tensor], options: Flags) => Tensor[] {
  return defineOp<readonly [Tensor], Flags>({
    name,
    forward: ([x], options, context) => {
      context.save(x)
      return x.device.run(name, { x }, options)[0] as Tensor
    },
    backward: (context, [dy], options) =>
      dy === undefined ? [] : dy.device.run(`${name}Backward`, { dy, x: context.saved(0) }, options),
    recompute: (context, options) => context.saved(0).device.run(name, { x: context.saved(0) }, options)[0] as Tensor,
  })
}

function gated(name: string): (inputs: readonly [Tensor, Tensor], options: Flags) => Tensor[] {
  return defineOp<readonly [Tensor, Tensor], Flags>({
    name,
    forward: ([gate, up], options, context) => {
      context.save(gate, up)
      return gate.device.run(name, { gate, up }, options)[0] as Tensor
    },
    backward: (context, [dy], options) => {
      if (dy === undefined) return []
      return dy.device.run(`${name}Backward`, { dy, gate: context.saved(0), up: context.saved(1) }, options)
    },
    recompute: (context, options) => {
      const gate = context.saved(0)
      return gate.device.run(name, { gate, up: context.saved(1) }, options)[0] as Tensor
    },
  })
}

const siluOp = unary('silu')
const geluOp = unary('gelu')
const reluOp = unary('relu')
const swigluOp = gated('swiglu')
const gegluOp = gated('geglu')

/** x · sigmoid(x), elementwise. */
export function silu(x: Tensor): Tensor {
  return siluOp([x], {})[0] as Tensor
}

/** Gaussian error linear unit, exact or in its tanh form (Hendrycks & Gimpel 2016, arXiv 1606.08415). */
export function gelu(x: Tensor, options: { readonly tanh?: boolean } = {}): Tensor {
  return geluOp([x], { tanh: options.tanh ?? false })[0] as Tensor
}

/** max(x, 0), elementwise. */
export function relu(x: Tensor): Tensor {
  return reluOp([x], {})[0] as Tensor
}

/** silu(gate) · up (Shazeer 2020, arXiv 2002.05202); bfloat16 where both are, else float32. */
export function swiglu(gate: Tensor, up: Tensor): Tensor {
  return swigluOp([gate, up], {})[0] as Tensor
}

/** gelu(gate) · up, tanh form by default (Shazeer 2020, arXiv 2002.05202). */
export function geglu(gate: Tensor, up: Tensor, options: { readonly tanh?: boolean } = {}): Tensor {
  return gegluOp([gate, up], { tanh: options.tanh ?? true })[0] as Tensor
}
