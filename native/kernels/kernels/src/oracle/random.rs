//! Random tensors and sampling in f64.

use super::{OracleCall, OracleKernel};
use crate::cpu::sampling::{Settings, invalid_logits};
use crate::error::Result;
use crate::rng::{keep_threshold, normal_at, uniform_at, unit};

/// Kernels of this file.
pub const KERNELS: &[(&str, OracleKernel)] =
    &[("uniform", uniform), ("normal", normal), ("bernoulli", bernoulli), ("sample", sample)];

fn fill(call: &OracleCall<'_>, draw: impl Fn(u64, u64) -> f64) -> Result<()> {
    let (seed, offset) = (call.attributes.integer("seed"), call.attributes.integer("offset"));
    // SAFETY: the output of this call.
    for (index, y) in unsafe { call.outputs[0].values_mut()? }.iter_mut().enumerate() {
        *y = draw(seed, offset + index as u64);
    }
    Ok(())
}

fn uniform(call: &OracleCall<'_>) -> Result<()> {
    let (low, high) = (call.attributes.number("low"), call.attributes.number("high"));
    fill(call, |seed, index| low + (high - low) * f64::from(unit(uniform_at(seed, index))))
}

fn normal(call: &OracleCall<'_>) -> Result<()> {
    let (mean, std) = (call.attributes.number("mean"), call.attributes.number("std"));
    fill(call, |seed, index| mean + std * normal_at(seed, index))
}

fn bernoulli(call: &OracleCall<'_>) -> Result<()> {
    let threshold = keep_threshold(call.attributes.number("p"));
    fill(call, |seed, index| f64::from(uniform_at(seed, index) < threshold))
}

/// The processors one after the other, each on the full sorted distribution.
fn sample(call: &OracleCall<'_>) -> Result<()> {
    let view = call.input("logits");
    let vocabulary = view.spec.last();
    let settings = Settings::of(&call.attributes);
    let number = |name: &str| call.attributes.number(name);
    let history = call.optional("history").map(|view| Ok((view.values()?, view.spec.last()))).transpose()?;
    // SAFETY: distinct outputs of this call.
    let (ids, log_probs) = unsafe { (call.outputs[0].values_mut()?, call.outputs[1].values_mut()?) };
    for row in 0..ids.len() {
        let mut logits = view.values()?[row * vocabulary..(row + 1) * vocabulary].to_vec();
        if let Some((history, length)) = history {
            let seen = &history[row * length..(row + 1) * length];
            for (_, logit) in logits.iter_mut().enumerate().filter(|(id, _)| seen.contains(&(*id as f64))) {
                *logit = if *logit > 0.0 {
                    *logit / number("repetitionPenalty")
                } else {
                    *logit * number("repetitionPenalty")
                };
            }
        }
        let mut order: Vec<usize> = (0..vocabulary).collect();
        if logits.iter().any(|logit| logit.is_nan()) {
            return Err(invalid_logits(row));
        }
        order.sort_by(|a, b| logits[*b].total_cmp(&logits[*a]).then(a.cmp(b)));
        let highest = logits[order[0]];
        if !highest.is_finite() {
            return Err(invalid_logits(row));
        }
        let temperature = if settings.temperature == 0.0 { 1.0 } else { number("temperature") };
        let weight = |id: usize| ((logits[id] - highest) / temperature).exp();
        if settings.temperature > 0.0 {
            if settings.top_k > 0 {
                order.truncate(settings.top_k);
            }
            if settings.top_p < 1.0 {
                let total: f64 = order.iter().map(|id| weight(*id)).sum();
                let mut mass = 0.0;
                let last = order.iter().position(|id| {
                    mass += weight(*id);
                    mass >= settings.top_p * total
                });
                order.truncate(last.map_or(order.len(), |last| last + 1));
            }
            order.retain(|id| weight(*id) >= settings.min_p);
        }
        let total: f64 = order.iter().map(|id| weight(*id)).sum();
        let mut chosen = order[0];
        if settings.temperature > 0.0 {
            order.sort_unstable();
            let (mut mass, target) = (0.0, settings.draw(row) * total);
            for id in &order {
                mass += weight(*id);
                chosen = *id;
                if mass > target {
                    break;
                }
            }
        }
        ids[row] = chosen as f64;
        log_probs[row] = (weight(chosen) / total).ln();
    }
    Ok(())
}
