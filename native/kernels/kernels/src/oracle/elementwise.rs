//! Element-wise ops in f64.

use super::{OracleCall, OracleKernel, OracleView};
use crate::dtype::DType;
use crate::error::{KernelError, Result};
use crate::ops::Broadcast;
use crate::rng::{keep_threshold, uniform_at};
use half::{bf16, f16};

/// Kernels of this file.
pub const KERNELS: &[(&str, OracleKernel)] = &[
    ("add", |call| binary(call, |a, b| a + b)),
    ("sub", |call| binary(call, |a, b| a - b)),
    ("mul", |call| binary(call, |a, b| a * b)),
    ("div", |call| binary(call, |a, b| a / b)),
    ("maximum", |call| binary(call, |a, b| if a.is_nan() || a > b { a } else { b })),
    ("minimum", |call| binary(call, |a, b| if a.is_nan() || a < b { a } else { b })),
    ("equal", |call| binary(call, |a, b| f64::from(a == b))),
    ("less", |call| binary(call, |a, b| f64::from(a < b))),
    ("lessEqual", |call| binary(call, |a, b| f64::from(a <= b))),
    ("where", choose),
    ("neg", |call| unary(call, |x| -x)),
    ("exp", |call| unary(call, f64::exp)),
    ("log", |call| unary(call, f64::ln)),
    ("sqrt", |call| unary(call, f64::sqrt)),
    ("abs", |call| unary(call, f64::abs)),
    ("sigmoid", |call| unary(call, |x| 1.0 / (1.0 + (-x).exp()))),
    ("tanh", |call| unary(call, f64::tanh)),
    ("clamp", |call| {
        let (low, high) = (call.attributes.number("low"), call.attributes.number("high"));
        unary(call, |x| {
            if x < low {
                low
            } else if x > high {
                high
            } else {
                x
            }
        })
    }),
    ("pow", |call| unary(call, |x| x.powf(call.attributes.number("exponent")))),
    ("scale", |call| unary(call, |x| x * call.attributes.number("factor") + call.attributes.number("bias"))),
    ("dropout", |call| dropout(call, "x")),
    ("dropoutBackward", |call| dropout(call, "dy")),
    ("addScaled", add_scaled),
    ("cast", cast),
    ("fill", fill),
];

/// Value of a broadcast operand at an element of the output.
fn at(view: &OracleView<'_>, output: &[usize], index: usize) -> Result<f64> {
    let values = view.values()?;
    let columns = output[output.len() - 1];
    Ok(match Broadcast::of(&view.spec.shape, output) {
        Some(Broadcast::Full) => values[index],
        Some(Broadcast::Scalar) => values[0],
        Some(Broadcast::Row) => values[index % columns],
        Some(Broadcast::Column) => values[index / columns],
        None => return Err(KernelError::shape("oracle", "operands do not fit")),
    })
}

fn binary(call: &OracleCall<'_>, f: impl Fn(f64, f64) -> f64) -> Result<()> {
    let output = call.outputs[0];
    // SAFETY: the output of this call.
    let y = unsafe { output.values_mut()? };
    for (index, y) in y.iter_mut().enumerate() {
        *y = f(at(&call.input("a"), &output.spec.shape, index)?, at(&call.input("b"), &output.spec.shape, index)?);
    }
    Ok(())
}

fn choose(call: &OracleCall<'_>) -> Result<()> {
    let output = call.outputs[0];
    // SAFETY: the output of this call.
    let y = unsafe { output.values_mut()? };
    for (index, y) in y.iter_mut().enumerate() {
        let chosen = if at(&call.input("condition"), &output.spec.shape, index)? == 0.0 { "b" } else { "a" };
        *y = at(&call.input(chosen), &output.spec.shape, index)?;
    }
    Ok(())
}

fn unary(call: &OracleCall<'_>, f: impl Fn(f64) -> f64) -> Result<()> {
    // SAFETY: the output of this call.
    let y = unsafe { call.outputs[0].values_mut()? };
    for (y, x) in y.iter_mut().zip(call.input("x").values()?) {
        *y = f(*x);
    }
    Ok(())
}

fn dropout(call: &OracleCall<'_>, input: &str) -> Result<()> {
    let p = call.attributes.number("p");
    let (seed, offset) = (call.attributes.integer("seed"), call.attributes.integer("offset"));
    // SAFETY: the output of this call.
    let y = unsafe { call.outputs[0].values_mut()? };
    for (index, (y, x)) in y.iter_mut().zip(call.input(input).values()?).enumerate() {
        let kept = uniform_at(seed, offset + index as u64) >= keep_threshold(p);
        *y = if kept { x / (1.0 - p) } else { 0.0 };
    }
    Ok(())
}

fn add_scaled(call: &OracleCall<'_>) -> Result<()> {
    // SAFETY: a declared in-place input of this call.
    let y = unsafe { call.input("y").values_mut()? };
    for (y, x) in y.iter_mut().zip(call.input("x").values()?) {
        *y += call.attributes.number("factor") * x;
    }
    Ok(())
}

/// Rounds a value to what `dtype` can hold.
pub fn round_to(dtype: DType, value: f64) -> f64 {
    match dtype {
        DType::F32 => f64::from(value as f32),
        DType::BF16 => bf16::from_f32(value as f32).to_f64(),
        DType::F16 => f16::from_f32(value as f32).to_f64(),
        DType::I32 => f64::from(value as i32),
        DType::U8 => f64::from(value as u8),
        DType::I8 => f64::from(value as i8),
        DType::I64 => (value as i64) as f64,
        _ => value,
    }
}

fn cast(call: &OracleCall<'_>) -> Result<()> {
    let dtype = call.outputs[0].spec.dtype;
    unary(call, |x| round_to(dtype, x))
}

fn fill(call: &OracleCall<'_>) -> Result<()> {
    // SAFETY: the output of this call.
    unsafe { call.outputs[0].values_mut()? }.fill(call.attributes.number("value"));
    Ok(())
}
