//! Norms in f64.

use super::{OracleCall, OracleKernel};
use crate::error::Result;

/// Kernels of this file.
pub const KERNELS: &[(&str, OracleKernel)] = &[
    ("rmsNorm", rms_norm),
    ("rmsNormBackward", rms_norm_backward),
    ("layerNorm", layer_norm),
    ("layerNormBackward", layer_norm_backward),
];

fn rms_norm(call: &OracleCall<'_>) -> Result<()> {
    let (x, weight) = (call.input("x").values()?, call.input("weight").values()?);
    let offset = call.attributes.number("weightOffset");
    let mut sum = x.to_vec();
    if let Some(residual) = call.optional("residual") {
        sum.iter_mut().zip(residual.values()?).for_each(|(s, r)| *s += r);
    }
    // SAFETY: distinct outputs of this call.
    let (y, inverse) = unsafe { (call.outputs[0].values_mut()?, call.outputs[1].values_mut()?) };
    for (row, x) in sum.chunks_exact(weight.len()).enumerate() {
        let mean = x.iter().map(|v| v * v).sum::<f64>() / x.len() as f64;
        inverse[row] = 1.0 / (mean + call.attributes.number("epsilon")).sqrt();
        for (column, v) in x.iter().enumerate() {
            y[row * x.len() + column] = v * inverse[row] * (weight[column] + offset);
        }
    }
    if let Some(output) = call.outputs.get(2) {
        // SAFETY: an output of this call.
        unsafe { output.values_mut()? }.copy_from_slice(&sum);
    }
    Ok(())
}

fn rms_norm_backward(call: &OracleCall<'_>) -> Result<()> {
    let (dy, x, weight) = (call.input("dy").values()?, call.input("x").values()?, call.input("weight").values()?);
    let inverse = call.input("inverseRms").values()?;
    let residual = call.optional("residualGradient").map(|view| view.values()).transpose()?;
    let offset = call.attributes.number("weightOffset");
    let columns = weight.len();
    // SAFETY: an output of this call.
    let dx = unsafe { call.outputs[0].values_mut()? };
    let mut dw = vec![0.0; columns];
    for row in 0..inverse.len() {
        let base = row * columns;
        let normal = |c: usize| x[base + c] * inverse[row];
        let weighted = |c: usize| dy[base + c] * (weight[c] + offset);
        let mean = (0..columns).map(|c| weighted(c) * normal(c)).sum::<f64>() / columns as f64;
        for c in 0..columns {
            dx[base + c] = inverse[row] * (weighted(c) - normal(c) * mean) + residual.map_or(0.0, |r| r[base + c]);
            dw[c] += dy[base + c] * normal(c);
        }
    }
    if let Some(output) = call.outputs.get(1) {
        // SAFETY: an output of this call.
        unsafe { output.values_mut()? }.copy_from_slice(&dw);
    }
    Ok(())
}

fn layer_norm(call: &OracleCall<'_>) -> Result<()> {
    let (x, weight) = (call.input("x").values()?, call.input("weight").values()?);
    let bias = call.optional("bias").map(|view| view.values()).transpose()?;
    // SAFETY: distinct outputs of this call.
    let (y, means, inverses) =
        unsafe { (call.outputs[0].values_mut()?, call.outputs[1].values_mut()?, call.outputs[2].values_mut()?) };
    let columns = weight.len();
    for (row, x) in x.chunks_exact(columns).enumerate() {
        let mean = x.iter().sum::<f64>() / columns as f64;
        let variance = x.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / columns as f64;
        means[row] = mean;
        inverses[row] = 1.0 / (variance + call.attributes.number("epsilon")).sqrt();
        for c in 0..columns {
            y[row * columns + c] = (x[c] - mean) * inverses[row] * weight[c] + bias.map_or(0.0, |b| b[c]);
        }
    }
    Ok(())
}

fn layer_norm_backward(call: &OracleCall<'_>) -> Result<()> {
    let (dy, x, weight) = (call.input("dy").values()?, call.input("x").values()?, call.input("weight").values()?);
    let (means, inverses) = (call.input("mean").values()?, call.input("inverseStd").values()?);
    // SAFETY: an output of this call.
    let dx = unsafe { call.outputs[0].values_mut()? };
    let columns = weight.len();
    let (mut dw, mut db) = (vec![0.0; columns], vec![0.0; columns]);
    for row in 0..means.len() {
        let base = row * columns;
        let normal = |c: usize| (x[base + c] - means[row]) * inverses[row];
        let weighted = |c: usize| dy[base + c] * weight[c];
        let sum = (0..columns).map(weighted).sum::<f64>() / columns as f64;
        let dot = (0..columns).map(|c| weighted(c) * normal(c)).sum::<f64>() / columns as f64;
        for c in 0..columns {
            dx[base + c] = inverses[row] * (weighted(c) - sum - normal(c) * dot);
            dw[c] += dy[base + c] * normal(c);
            db[c] += dy[base + c];
        }
    }
    if call.outputs.len() > 1 {
        // SAFETY: distinct outputs of this call.
        unsafe {
            call.outputs[1].values_mut()?.copy_from_slice(&dw);
            call.outputs[2].values_mut()?.copy_from_slice(&db);
        }
    }
    Ok(())
}
