//! Optimizer steps in f64.

use super::{OracleCall, OracleKernel};
use crate::cpu::quant4_map::dynamic_map;
use crate::dtype::DType;
use crate::error::Result;
use crate::ops::STATE_BLOCK;

/// Kernels of this file.
pub const KERNELS: &[(&str, OracleKernel)] = &[
    ("adamW", adam),
    ("adamW8bit", adam8),
    ("sgd", sgd),
    ("sgdMomentum", sgd),
    ("gradNorm", norm),
    ("allFinite", all_finite),
    ("clipScale", clip),
];

fn clip_coefficient(norm: f64, max_norm: f64) -> f64 {
    let coefficient = max_norm / (norm + 1e-6);
    if coefficient > 1.0 { 1.0 } else { coefficient }
}

fn factor(call: &OracleCall<'_>) -> Result<f64> {
    let (scale, max_norm) = (call.attributes.number("gradScale"), call.attributes.number("maxNorm"));
    match call.optional("norm") {
        Some(norm) if max_norm > 0.0 => Ok(scale * clip_coefficient(norm.values()?[0], max_norm)),
        _ => Ok(scale),
    }
}

/// One element: (p, m, v) after the step.
fn adam_element(call: &OracleCall<'_>, factor: f64, p: f64, g: f64, m: f64, v: f64) -> (f64, f64, f64) {
    let number = |name: &str| call.attributes.number(name);
    let (beta1, beta2, rate, step) = (number("beta1"), number("beta2"), number("learningRate"), number("step"));
    let g = g * factor;
    let p = p * (1.0 - rate * number("weightDecay"));
    let m = beta1 * m + (1.0 - beta1) * g;
    let v = beta2 * v + (1.0 - beta2) * g * g;
    let denominator = v.sqrt() / (1.0 - beta2.powf(step)).sqrt() + number("epsilon");
    (p - rate / (1.0 - beta1.powf(step)) * m / denominator, m, v)
}

/// bf16 parameters are kept unrounded when rounding is stochastic (its mean), else rounded.
fn store(call: &OracleCall<'_>, dtype: DType, value: f64) -> f64 {
    if dtype == DType::BF16 && call.attributes.integer("seed") == 0 {
        half::bf16::from_f32(value as f32).to_f64()
    } else {
        value
    }
}

fn adam(call: &OracleCall<'_>) -> Result<()> {
    let factor = factor(call)?;
    for views in call.variadic().chunks_exact(4) {
        let g = views[1].values()?;
        // SAFETY: param, m and v are declared as written by this op.
        let (p, m, v) = unsafe { (views[0].values_mut()?, views[2].values_mut()?, views[3].values_mut()?) };
        for at in 0..g.len() {
            let next = adam_element(call, factor, p[at], g[at], m[at], v[at]);
            (p[at], m[at], v[at]) = (store(call, views[0].spec.dtype, next.0), next.1, next.2);
        }
    }
    Ok(())
}

fn adam8(call: &OracleCall<'_>) -> Result<()> {
    let factor = factor(call)?;
    let maps = [dynamic_map(true), dynamic_map(false)];
    for views in call.variadic().chunks_exact(6) {
        let g = views[1].values()?;
        // SAFETY: parameters and states are declared as written by this op.
        let (p, m_codes, m_scales, v_codes, v_scales) = unsafe {
            (
                views[0].values_mut()?,
                views[2].values_mut()?,
                views[3].values_mut()?,
                views[4].values_mut()?,
                views[5].values_mut()?,
            )
        };
        for block in 0..g.len().div_ceil(STATE_BLOCK) {
            let range = block * STATE_BLOCK..((block + 1) * STATE_BLOCK).min(g.len());
            let (mut m, mut v) = (vec![], vec![]);
            for at in range.clone() {
                let state = |map: &[f32; 256], code: f64, scale: f64| f64::from(map[code as usize]) * scale;
                let old =
                    (state(&maps[0], m_codes[at], m_scales[block]), state(&maps[1], v_codes[at], v_scales[block]));
                let next = adam_element(call, factor, p[at], g[at], old.0, old.1);
                p[at] = store(call, views[0].spec.dtype, next.0);
                m.push(next.1);
                v.push(next.2);
            }
            m_scales[block] = m.iter().fold(0.0, |high: f64, m| high.max(m.abs()));
            v_scales[block] = v.iter().fold(0.0, |high: f64, v| high.max(*v));
            for (index, at) in range.enumerate() {
                m_codes[at] = nearest(&maps[0], m[index], m_scales[block]);
                v_codes[at] = nearest(&maps[1], v[index], v_scales[block]);
            }
        }
    }
    Ok(())
}

fn nearest(map: &[f32; 256], value: f64, scale: f64) -> f64 {
    let x = if scale > 0.0 { value / scale } else { 0.0 };
    let distance = |code: &usize| (f64::from(map[*code]) - x).abs();
    (0..256).min_by(|a, b| distance(a).total_cmp(&distance(b))).unwrap_or(0) as f64
}

fn sgd(call: &OracleCall<'_>) -> Result<()> {
    let op = call.attributes.op;
    let number = |name: &str| call.attributes.number(name);
    let factor = factor(call)?;
    for views in call.variadic().chunks_exact(op.variadic.len()) {
        let g = views[1].values()?;
        // SAFETY: param and momentum are declared as written by this op.
        let p = unsafe { views[0].values_mut()? };
        for at in 0..g.len() {
            let mut direction = g[at] * factor + number("weightDecay") * p[at];
            if let Some(view) = views.get(2) {
                // SAFETY: as above.
                let buffer = unsafe { view.values_mut()? };
                buffer[at] = number("momentum") * buffer[at] + direction;
                direction = if call.attributes.flag("nesterov") {
                    direction + number("momentum") * buffer[at]
                } else {
                    buffer[at]
                };
            }
            p[at] -= number("learningRate") * direction;
        }
    }
    Ok(())
}

fn norm(call: &OracleCall<'_>) -> Result<()> {
    let mut sum = 0.0;
    for view in call.variadic() {
        sum += view.values()?.iter().map(|v| v * v).sum::<f64>();
    }
    // SAFETY: the output of this call.
    unsafe { call.outputs[0].values_mut()?[0] = sum.sqrt() };
    Ok(())
}

fn all_finite(call: &OracleCall<'_>) -> Result<()> {
    let mut finite = true;
    for view in call.variadic() {
        finite &= view.values()?.iter().all(|v| v.is_finite());
    }
    // SAFETY: the output of this call.
    unsafe { call.outputs[0].values_mut()?[0] = f64::from(finite) };
    Ok(())
}

fn clip(call: &OracleCall<'_>) -> Result<()> {
    let factor = clip_coefficient(call.input("norm").values()?[0], call.attributes.number("maxNorm"));
    for view in call.variadic() {
        // SAFETY: the gradients are declared as written by this op.
        unsafe { view.values_mut()? }.iter_mut().for_each(|value| *value *= factor);
    }
    Ok(())
}
