//! Activations and embedding in f64.

use super::{OracleCall, OracleKernel};
use crate::cpu::embedding::check_ids;
use crate::error::Result;
use crate::ops::activation::Activation;

/// Kernels of this file.
pub const KERNELS: &[(&str, OracleKernel)] = &[
    ("silu", forward),
    ("siluBackward", backward),
    ("gelu", forward),
    ("geluBackward", backward),
    ("relu", forward),
    ("reluBackward", backward),
    ("swiglu", gated),
    ("swigluBackward", gated_backward),
    ("geglu", gated),
    ("gegluBackward", gated_backward),
    ("embedding", embedding),
    ("embeddingBackward", embedding_backward),
];

/// erf x to f64 precision: Taylor series near zero, continued fraction beyond.
pub fn erf(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x.abs() < 2.5 {
        let (mut term, mut sum) = (x, x);
        for n in 1..90 {
            term *= -x * x / f64::from(n);
            sum += term / f64::from(2 * n + 1);
        }
        return sum * std::f64::consts::FRAC_2_SQRT_PI;
    }
    let mut fraction = x.abs();
    for k in (1..120).rev() {
        fraction = x.abs() + f64::from(k) * 0.5 / fraction;
    }
    let tail = if x.is_infinite() { 0.0 } else { (-x * x).exp() / (fraction * std::f64::consts::PI.sqrt()) };
    x.signum() * (1.0 - tail)
}

/// (f(x), f′(x)).
fn evaluate(activation: Activation, x: f64) -> (f64, f64) {
    match activation {
        Activation::Silu => {
            let sigma = 1.0 / (1.0 + (-x).exp());
            (x * sigma, sigma + x * sigma * (1.0 - sigma))
        }
        Activation::Relu if x.is_nan() => (x, 0.0),
        Activation::Relu => (x.max(0.0), f64::from(x > 0.0)),
        Activation::GeluErf => {
            let phi = 0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2));
            (x * phi, phi + x * (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt())
        }
        Activation::GeluTanh => {
            let root = (2.0 / std::f64::consts::PI).sqrt();
            let t = (root * (x + 0.044_715 * x.powi(3))).tanh();
            let slope = root * (1.0 + 3.0 * 0.044_715 * x * x);
            (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope)
        }
    }
}

fn forward(call: &OracleCall<'_>) -> Result<()> {
    let activation = Activation::of(&call.attributes)?;
    // SAFETY: the output of this call.
    let y = unsafe { call.outputs[0].values_mut()? };
    for (y, x) in y.iter_mut().zip(call.input("x").values()?) {
        *y = evaluate(activation, *x).0;
    }
    Ok(())
}

fn backward(call: &OracleCall<'_>) -> Result<()> {
    let activation = Activation::of(&call.attributes)?;
    // SAFETY: the output of this call.
    let dx = unsafe { call.outputs[0].values_mut()? };
    for ((dx, x), dy) in dx.iter_mut().zip(call.input("x").values()?).zip(call.input("dy").values()?) {
        *dx = dy * evaluate(activation, *x).1;
    }
    Ok(())
}

fn gated(call: &OracleCall<'_>) -> Result<()> {
    let activation = Activation::of(&call.attributes)?;
    // SAFETY: the output of this call.
    let y = unsafe { call.outputs[0].values_mut()? };
    for ((y, gate), up) in y.iter_mut().zip(call.input("gate").values()?).zip(call.input("up").values()?) {
        *y = evaluate(activation, *gate).0 * up;
    }
    Ok(())
}

fn gated_backward(call: &OracleCall<'_>) -> Result<()> {
    let activation = Activation::of(&call.attributes)?;
    let (dy, gate, up) = (call.input("dy").values()?, call.input("gate").values()?, call.input("up").values()?);
    // SAFETY: distinct outputs of this call.
    let (dg, du) = unsafe { (call.outputs[0].values_mut()?, call.outputs[1].values_mut()?) };
    for at in 0..dy.len() {
        let (value, slope) = evaluate(activation, gate[at]);
        dg[at] = dy[at] * up[at] * slope;
        du[at] = dy[at] * value;
    }
    Ok(())
}

fn embedding(call: &OracleCall<'_>) -> Result<()> {
    let weight = call.input("weight");
    let dim = weight.spec.shape[1];
    let ids: Vec<i32> = call.input("ids").values()?.iter().map(|id| *id as i32).collect();
    check_ids("embedding", &ids, weight.spec.shape[0])?;
    // SAFETY: the output of this call.
    let y = unsafe { call.outputs[0].values_mut()? };
    for (y, id) in y.chunks_exact_mut(dim).zip(ids) {
        for (y, value) in y.iter_mut().zip(&weight.values()?[id as usize * dim..]) {
            *y = value * call.attributes.number("scale");
        }
    }
    Ok(())
}

fn embedding_backward(call: &OracleCall<'_>) -> Result<()> {
    let dim = call.outputs[0].spec.shape[1];
    let ids: Vec<i32> = call.input("ids").values()?.iter().map(|id| *id as i32).collect();
    check_ids("embeddingBackward", &ids, call.outputs[0].spec.shape[0])?;
    // SAFETY: the output of this call.
    let dw = unsafe { call.outputs[0].values_mut()? };
    dw.fill(0.0);
    for (dy, id) in call.input("dy").values()?.chunks_exact(dim).zip(ids) {
        for (sum, value) in dw[id as usize * dim..].iter_mut().zip(dy) {
            *sum += value * call.attributes.number("scale");
        }
    }
    Ok(())
}
