//! Element-wise ops with broadcasting.

use super::operand::as_f32;
use super::pool::SharedMut;
use super::simd::math::{exp, log, sigmoid, tanh};
use super::simd::pointwise::{CHUNK, Operand, Pointwise, full, map, output, run_pointwise};
use super::{CpuCall, CpuContext, CpuKernel, CpuView};
use crate::error::{KernelError, Result};
use crate::ops::Broadcast;
use crate::pointwise;
use crate::rng::{keep_threshold, words_of_block};
use std::borrow::Cow;

/// Kernels of this file.
pub const KERNELS: &[(&str, CpuKernel)] = &[
    ("add", |context, call| broadcast(context, call, ["a", "b"], Add {})),
    ("sub", |context, call| broadcast(context, call, ["a", "b"], Sub {})),
    ("mul", |context, call| broadcast(context, call, ["a", "b"], Mul {})),
    ("div", |context, call| broadcast(context, call, ["a", "b"], Div {})),
    ("maximum", |context, call| broadcast(context, call, ["a", "b"], Maximum {})),
    ("minimum", |context, call| broadcast(context, call, ["a", "b"], Minimum {})),
    ("equal", |context, call| broadcast(context, call, ["a", "b"], Equal {})),
    ("less", |context, call| broadcast(context, call, ["a", "b"], Less {})),
    ("lessEqual", |context, call| broadcast(context, call, ["a", "b"], LessEqual {})),
    ("where", |context, call| broadcast(context, call, ["condition", "a", "b"], Where {})),
    ("neg", |context, call| unary(context, call, Neg {})),
    ("exp", |context, call| unary(context, call, Exp {})),
    ("log", |context, call| unary(context, call, Log {})),
    ("sqrt", |context, call| unary(context, call, Sqrt {})),
    ("abs", |context, call| unary(context, call, Abs {})),
    ("sigmoid", |context, call| unary(context, call, Sigmoid {})),
    ("tanh", |context, call| unary(context, call, Tanh {})),
    ("clamp", clamp),
    ("pow", pow),
    ("scale", scale),
    ("dropout", |context, call| dropout(context, call, "x")),
    ("dropoutBackward", |context, call| dropout(context, call, "dy")),
    ("addScaled", add_scaled),
];

pointwise!(Add {}, |this, s, [a, b]| [s.add(a, b)]);
pointwise!(Sub {}, |this, s, [a, b]| [s.sub(a, b)]);
pointwise!(Mul {}, |this, s, [a, b]| [s.mul(a, b)]);
pointwise!(Div {}, |this, s, [a, b]| [s.div(a, b)]);
// A NaN on either side stays: the first operand is put back where it is NaN.
pointwise!(Maximum {}, |this, s, [a, b]| [s.select(s.eq(a, a), s.max(a, b), a)]);
pointwise!(Minimum {}, |this, s, [a, b]| [s.select(s.eq(a, a), s.min(a, b), a)]);
pointwise!(Equal {}, |this, s, [a, b]| [s.select(s.eq(a, b), s.splat(1.0), s.splat(0.0))]);
pointwise!(Less {}, |this, s, [a, b]| [s.select(s.lt(a, b), s.splat(1.0), s.splat(0.0))]);
pointwise!(LessEqual {}, |this, s, [a, b]| [s.select(s.le(a, b), s.splat(1.0), s.splat(0.0))]);
pointwise!(Where {}, |this, s, [c, a, b]| [s.select(s.eq(c, s.splat(0.0)), b, a)]);
pointwise!(Neg {}, |this, s, [x]| [s.neg(x)]);
pointwise!(Exp {}, |this, s, [x]| [exp(s, x)]);
pointwise!(Log {}, |this, s, [x]| [log(s, x)]);
pointwise!(Sqrt {}, |this, s, [x]| [s.sqrt(x)]);
pointwise!(Abs {}, |this, s, [x]| [s.abs(x)]);
pointwise!(Sigmoid {}, |this, s, [x]| [sigmoid(s, x)]);
pointwise!(Tanh {}, |this, s, [x]| [tanh(s, x)]);
pointwise!(Clamp { low, high }, |this, s, [x]| [s.max(s.splat(this.low), s.min(s.splat(this.high), x))]);
pointwise!(
    /// factor·x + bias.
    Affine { factor, bias }, |this, s, [x]| [s.fma(x, s.splat(this.factor), s.splat(this.bias))]
);
pointwise!(
    /// y + factor·x.
    AddScaled { factor }, |this, s, [y, x]| [s.fma(x, s.splat(this.factor), y)]
);

/// How a view is laid over the output; `values` are those of a view that is not as large.
fn operand<'a>(view: &CpuView<'a>, output: &[usize], values: &'a [f32]) -> Result<Operand<'a>> {
    match Broadcast::of(&view.spec.shape, output) {
        Some(Broadcast::Full) => full(view),
        Some(Broadcast::Scalar) => Ok(Operand::Scalar(values[0])),
        Some(Broadcast::Row) => Ok(Operand::Row(values)),
        Some(Broadcast::Column) => Ok(Operand::Column(values)),
        None => Err(KernelError::shape("elementwise", format!("{} does not fit {output:?}", view.spec))),
    }
}

fn broadcast<const I: usize, P: Pointwise<I, 1>>(
    context: &CpuContext,
    call: &CpuCall<'_>,
    names: [&str; I],
    function: P,
) -> Result<()> {
    let result = call.outputs[0];
    let shape = &result.spec.shape;
    let views = names.map(|name| call.input(name));
    let mut small = [const { Cow::Borrowed(&[] as &[f32]) }; I];
    for (values, view) in small.iter_mut().zip(&views) {
        if Broadcast::of(&view.spec.shape, shape) != Some(Broadcast::Full) {
            *values = as_f32(view)?;
        }
    }
    let mut operands = [Operand::Scalar(0.0); I];
    for ((slot, view), values) in operands.iter_mut().zip(&views).zip(&small) {
        *slot = operand(view, shape, values)?;
    }
    // SAFETY: the output of this call, of rows · columns elements.
    unsafe {
        run_pointwise(context, result.spec.rows(), result.spec.last(), function, operands, [output(&result)?]);
    }
    Ok(())
}

fn unary<P: Pointwise<1, 1>>(context: &CpuContext, call: &CpuCall<'_>, function: P) -> Result<()> {
    // SAFETY: the output of this call.
    unsafe { map(context, function, [call.input("x")], [call.outputs[0]]) }
}

fn clamp(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let attributes = call.attributes;
    unary(context, call, Clamp { low: attributes.float("low"), high: attributes.float("high") })
}

fn scale(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let attributes = call.attributes;
    unary(context, call, Affine { factor: attributes.float("factor"), bias: attributes.float("bias") })
}

/// General powers are rare and taken one by one, in the exactness of the standard library.
fn pow(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let exponent = call.attributes.float("exponent");
    let x = as_f32(&call.input("x"))?;
    // SAFETY: the output of this call.
    let y = SharedMut::new(unsafe { call.outputs[0].slice_mut::<f32>()? });
    context.pool.for_chunks(x.len(), CHUNK, &|start, end| {
        // SAFETY: tasks own disjoint ranges.
        let y = unsafe { y.slice(start, end) };
        for (y, x) in y.iter_mut().zip(&x[start..end]) {
            *y = if exponent == 2.0 { x * x } else { x.powf(exponent) };
        }
    });
    Ok(())
}

fn add_scaled(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let (x, y) = (call.input("x"), call.input("y"));
    let factor = call.attributes.float("factor");
    // SAFETY: y is a declared in-place input; each element is read before it is written.
    unsafe {
        let operands = [full(&y)?, full(&x)?];
        run_pointwise(context, 1, x.spec.elements(), AddScaled { factor }, operands, [output(&y)?]);
    }
    Ok(())
}

fn dropout(context: &CpuContext, call: &CpuCall<'_>, input: &str) -> Result<()> {
    let x = as_f32(&call.input(input))?;
    let p = call.attributes.number("p");
    let (seed, offset) = (call.attributes.integer("seed"), call.attributes.integer("offset"));
    let (threshold, factor) = (keep_threshold(p), (1.0 / (1.0 - p)) as f32);
    // SAFETY: the output of this call.
    let y = SharedMut::new(unsafe { call.outputs[0].slice_mut::<f32>()? });
    context.pool.for_chunks(x.len(), CHUNK, &|start, end| {
        // SAFETY: tasks own disjoint ranges.
        let y = unsafe { y.slice(start, end) };
        let mut words = [0; 4];
        for (at, (y, x)) in y.iter_mut().zip(&x[start..end]).enumerate() {
            let index = offset + (start + at) as u64;
            if at == 0 || index.is_multiple_of(4) {
                words = words_of_block(seed, index / 4);
            }
            let kept = words[(index % 4) as usize] >= threshold;
            *y = if kept { x * factor } else { 0.0 };
        }
    });
    Ok(())
}
