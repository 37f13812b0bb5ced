import { defineOp, type BackwardContext } from '../define-op.ts'
import type { Tensor } from '../tensor.ts'

type Pair = readonly [Tensor, Tensor]
type None = Readonly<Record<never, never>>

function sameShape(left: readonly number[], right: readonly number[]): boolean {
  return left.length === right.length && left.every((extent, index) => extent === right[index])
}

/** Sums a gradient back to the shape of a broadcast operand. */
function reduceTo(gradient: Tensor, shape: readonly number[]): Tensor {
  if (sameShape(gradient.shape, shape)) return gradient
  return gradient.device.run('sumTo', { x: gradient }, {}, shape)[0] as Tensor
}

function native(name: string, a: Tensor, b: Tensor): Tensor {
  return a.device.run(name, { a, b })[0] as Tensor
}

function unaryNative(name: string, x: Tensor, attributes: Readonly<Record<string, number>> = {}): Tensor {
  return x.device.run(name, { x }, attributes)[0] as Tensor
}

interface Shapes {
  readonly a: readonly number[]
  readonly b: readonly number[]
}

function binary(
  name: string,
  saves: boolean,
  gradients: (dy: Tensor, context: BackwardContext) => readonly [() => Tensor, () => Tensor],
): (a: Tensor, b: Tensor) => Tensor {
  const op = defineOp<Pair, Shapes>({
    name,
    forward: ([a, b], _shapes, context) => {
      if (saves) context.save(a, b)
      return native(name, a, b)
    },
    backward: (context, [dy], shapes) => {
      if (dy === undefined) return []
      const [toA, toB] = gradients(dy, context)
      return [
        context.needs(0) ? reduceTo(toA(), shapes.a) : undefined,
        context.needs(1) ? reduceTo(toB(), shapes.b) : undefined,
      ]
    },
  })
  return (a, b) => op([a, b], { a: a.shape, b: b.shape })[0] as Tensor
}

/** a + b. Operands have equal shapes, or one of them is [1], [last extent] or one value per row. */
export const add: (a: Tensor, b: Tensor) => Tensor = binary('add', false, (dy) => [() => dy, () => dy])

/** a − b; broadcasts as {@link add}. */
export const sub: (a: Tensor, b: Tensor) => Tensor = binary('sub', false, (dy) => [
  () => dy,
  () => unaryNative('neg', dy),
])

/** a · b; broadcasts as {@link add}. */
export const mul: (a: Tensor, b: Tensor) => Tensor = binary('mul', true, (dy, context) => [
  () => native('mul', dy, context.saved(1)),
  () => native('mul', dy, context.saved(0)),
])

/** a / b; broadcasts as {@link add}. */
export const div: (a: Tensor, b: Tensor) => Tensor = binary('div', true, (dy, context) => [
  () => native('div', dy, context.saved(1)),
  () => {
    const square = native('mul', context.saved(1), context.saved(1))
    return unaryNative('neg', native('div', native('mul', dy, context.saved(0)), square))
  },
])

/** Elementwise maximum; at equality the gradient goes to `b`. */
export const maximum: (a: Tensor, b: Tensor) => Tensor = binary('maximum', true, (dy, context) => [
  () => native('mul', dy, native('less', context.saved(1), context.saved(0))),
  () => native('mul', dy, native('lessEqual', context.saved(0), context.saved(1))),
])

/** Elementwise minimum; at equality the gradient goes to `b`. */
export const minimum: (a: Tensor, b: Tensor) => Tensor = binary('minimum', true, (dy, context) => [
  () => native('mul', dy, native('less', context.saved(0), context.saved(1))),
  () => native('mul', dy, native('lessEqual', context.saved(1), context.saved(0))),
])

function unary<Options extends object>(
  name: string,
  keepsOutput: boolean,
  gradient: (dy: Tensor, saved: Tensor, options: Options) => Tensor,
): (x: Tensor, options: Options) => Tensor {
  const op = defineOp<readonly [Tensor], Options>({
    name,
    forward: ([x], options, context) => {
      const y = unaryNative(name, x, options as Readonly<Record<string, number>>)
      context.save(keepsOutput ? y : x)
      return y
    },
    backward: (context, [dy], options) => [dy === undefined ? undefined : gradient(dy, context.saved(0), options)],
  })
  return (x, options) => op([x], options)[0] as Tensor
}

const expOp = unary<None>('exp', true, (dy, y) => native('mul', dy, y))
const logOp = unary<None>('log', false, (dy, x) => native('div', dy, x))
const sqrtOp = unary<None>('sqrt', true, (dy, y) => native('div', dy, unaryNative('scale', y, { factor: 2 })))
const absOp = unary<None>('abs', false, (dy, x) => native('mul', dy, signOf(x)))
const sigmoidOp = unary<None>('sigmoid', true, (dy, y) => {
  const complement = unaryNative('scale', y, { factor: -1, bias: 1 })
  return native('mul', dy, native('mul', y, complement))
})
const tanhOp = unary<None>('tanh', true, (dy, y) => {
  const square = native('mul', y, y)
  return native('mul', dy, unaryNative('scale', square, { factor: -1, bias: 1 }))
})
const powOp = unary<{ readonly exponent: number }>('pow', false, (dy, x, { exponent }) => {
  const slope = unaryNative('scale', unaryNative('pow', x, { exponent: exponent - 1 }), { factor: exponent })
  return native('mul', dy, slope)
})
const clampOp = unary<{ readonly low: number; readonly high: number }>('clamp', false, (dy, x, { low, high }) => {
  const device = x.device
  const inside = native(
    'mul',
    native('lessEqual', device.tensor([low]), x),
    native('lessEqual', x, device.tensor([high])),
  )
  return native('mul', dy, inside)
})
const scaleOp = unary<{ readonly factor: number; readonly bias: number }>('scale', false, (dy, _x, { factor }) =>
  unaryNative('scale', dy, { factor }),
)

function signOf(x: Tensor): Tensor {
  const zero = x.device.tensor([0])
  return native('sub', native('less', zero, x), native('less', x, zero))
}

/** −x. */
export function neg(x: Tensor): Tensor {
  return scale(x, -1)
}

/** eˣ. */
export function exp(x: Tensor): Tensor {
  return expOp(x, {})
}

/** Natural logarithm. */
export function log(x: Tensor): Tensor {
  return logOp(x, {})
}

/** Square root. */
export function sqrt(x: Tensor): Tensor {
  return sqrtOp(x, {})
}

/** |x|; its gradient at 0 is 0. */
export function abs(x: Tensor): Tensor {
  return absOp(x, {})
}

/** 1 / (1 + e⁻ˣ). */
export function sigmoid(x: Tensor): Tensor {
  return sigmoidOp(x, {})
}

/** Hyperbolic tangent. */
export function tanh(x: Tensor): Tensor {
  return tanhOp(x, {})
}

/** x to the power `exponent`. */
export function pow(x: Tensor, exponent: number): Tensor {
  return powOp(x, { exponent })
}

/** x limited to low … high; the gradient passes inside the limits. */
export function clamp(x: Tensor, low: number, high: number): Tensor {
  return clampOp(x, { low, high })
}

/** factor · x + bias. */
export function scale(x: Tensor, factor: number, bias = 0): Tensor {
  return scaleOp(x, { factor, bias })
}

const dropoutOp = defineOp<readonly [Tensor], { readonly p: number; readonly seed: number }>({
  name: 'dropout',
  forward: ([x], options) => x.device.run('dropout', { x }, options)[0] as Tensor,
  backward: (_context, [dy], options) => (dy === undefined ? [] : dy.device.run('dropoutBackward', { dy }, options)),
})

/**
 * Zeroes elements with probability `p` and divides the others by 1 − p (Srivastava et al. 2014). The mask is a function
 * of (seed, element index) and is never stored.
 */
export function dropout(x: Tensor, p: number, seed: number): Tensor {
  return p === 0 ? x : (dropoutOp([x], { p, seed })[0] as Tensor)
}
