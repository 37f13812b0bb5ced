//! Token sampling on the device.

use super::greedy::greedy;
use super::pool::SharedMut;
use super::simd::math::exp;
use super::simd::span::{get, put};
use super::simd::{Kernel, Simd, dispatch};
use super::{CpuCall, CpuContext, CpuKernel};
use crate::cpu::reduce::argmax_of;
use crate::error::{KernelError, Result};
use crate::rng::uniform_at;

/// Kernels of this file.
pub const KERNELS: &[(&str, CpuKernel)] = &[("sample", sample)];

/// Settings of a call, shared with the oracle.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Divisor of the logits; 0 is greedy.
    pub temperature: f32,
    /// Candidates kept by rank; 0 keeps all.
    pub top_k: usize,
    /// Probability mass kept.
    pub top_p: f64,
    /// Least probability relative to the best candidate.
    pub min_p: f64,
    /// Divides positive and multiplies negative logits of tokens in the history.
    pub penalty: f32,
    /// Seed.
    pub seed: u64,
    /// Decode step.
    pub step: u64,
}

impl Settings {
    /// The settings of a call.
    pub fn of(attributes: &crate::ops::Attributes<'_>) -> Self {
        Self {
            temperature: attributes.float("temperature"),
            top_k: attributes.count("topK"),
            top_p: attributes.number("topP"),
            min_p: attributes.number("minP"),
            penalty: attributes.float("repetitionPenalty"),
            seed: attributes.integer("seed"),
            step: attributes.integer("step"),
        }
    }

    /// The draw in [0, 1) for a row: 32 bits.
    pub fn draw(&self, row: usize) -> f64 {
        f64::from(uniform_at(self.seed, (self.step << 20) + row as u64)) / 4_294_967_296.0
    }
}

/// e^((x − highest)·factor) for a row.
struct Weights<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    highest: f32,
    factor: f32,
}

impl Kernel for Weights<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut at = 0;
        while at < self.x.len() {
            let count = (self.x.len() - at).min(S::LANES);
            let shifted = s.sub(get(s, self.x, at, count), s.splat(self.highest));
            put(s, self.y, at, count, exp(s, s.mul(shifted, s.splat(self.factor))));
            at += S::LANES;
        }
    }
}

/// (id, log-probability) of one row.
fn sample_row(
    context: &CpuContext,
    settings: &Settings,
    row: usize,
    logits: &mut [f32],
    history: &[i32],
) -> Option<(usize, f32)> {
    if settings.penalty != 1.0 {
        penalize(logits, history, settings.penalty);
    }
    let best = argmax_of(logits);
    let highest = logits[best];
    if !highest.is_finite() {
        return None;
    }
    let factor = if settings.temperature == 0.0 { 1.0 } else { 1.0 / settings.temperature };
    let mut weights = vec![0.0; logits.len()];
    dispatch(context.isa, Weights { x: logits, y: &mut weights, highest, factor });
    if settings.temperature == 0.0 {
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        return Some((best, -total.ln() as f32));
    }
    let truncated = settings.top_k > 0 || settings.top_p < 1.0 || settings.min_p > 0.0;
    if !truncated {
        let total: f64 = weights.iter().map(|weight| f64::from(*weight)).sum();
        let id = pick(weights.iter().map(|weight| f64::from(*weight)).enumerate(), settings.draw(row) * total)?;
        return Some((id, (f64::from(weights[id]) / total).ln() as f32));
    }
    let kept = candidates(&weights, settings);
    let total: f64 = kept.iter().map(|id| f64::from(weights[*id])).sum();
    let id = pick(kept.iter().map(|id| (*id, f64::from(weights[*id]))), settings.draw(row) * total)?;
    Some((id, (f64::from(weights[id]) / total).ln() as f32))
}

/// Divides positive logits of seen tokens by the penalty and multiplies negative ones, each token once.
pub fn penalize(logits: &mut [f32], history: &[i32], penalty: f32) {
    let mut seen: Vec<usize> =
        history.iter().filter(|id| **id >= 0 && (**id as usize) < logits.len()).map(|id| *id as usize).collect();
    seen.sort_unstable();
    seen.dedup();
    for id in seen {
        logits[id] = if logits[id] > 0.0 { logits[id] / penalty } else { logits[id] * penalty };
    }
}

/// Ids kept by top-k, then top-p, then min-p, in ascending order; `weights` are relative to the best
/// candidate's 1.
fn candidates(weights: &[f32], settings: &Settings) -> Vec<usize> {
    // Best first, ties by lowest id.
    let order = |a: &usize, b: &usize| weights[*b].total_cmp(&weights[*a]).then(a.cmp(b));
    let mut ids: Vec<usize> = (0..weights.len()).filter(|id| weights[*id] > 0.0).collect();
    if settings.top_k > 0 && settings.top_k < ids.len() {
        ids.select_nth_unstable_by(settings.top_k - 1, order);
        ids.truncate(settings.top_k);
    }
    if settings.top_p < 1.0 {
        let total: f64 = ids.iter().map(|id| f64::from(weights[*id])).sum();
        ids.sort_unstable_by(order);
        let mut mass = 0.0;
        let enough = ids.iter().position(|id| {
            mass += f64::from(weights[*id]);
            mass >= settings.top_p * total
        });
        ids.truncate(enough.map_or(ids.len(), |last| last + 1));
    }
    ids.retain(|id| f64::from(weights[*id]) >= settings.min_p);
    ids.sort_unstable();
    ids
}

/// First candidate whose cumulative weight exceeds `target`; the last one if rounding leaves none.
fn pick(candidates: impl Iterator<Item = (usize, f64)>, target: f64) -> Option<usize> {
    let (mut mass, mut last) = (0.0, None);
    for (id, weight) in candidates {
        if weight > 0.0 {
            mass += weight;
            last = Some(id);
            if mass > target {
                break;
            }
        }
    }
    last
}

/// The coded error of a row without a usable distribution.
pub fn invalid_logits(row: usize) -> KernelError {
    KernelError::new(
        "ERR_NUMERIC",
        format!(
            "sample: the logits of row {row} hold NaN or +infinity, or nothing but −infinity; the forward pass has diverged"
        ),
    )
}

fn sample(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let view = call.input("logits");
    let (logits, vocabulary) = (view.slice::<f32>()?, view.spec.last());
    let history = call.optional("history");
    let length = history.map_or(0, |view| view.spec.last());
    let history = history.map(|view| view.slice::<i32>()).transpose()?.unwrap_or(&[]);
    let settings = Settings::of(&call.attributes);
    // SAFETY: distinct outputs of this call.
    let (ids, log_probs) = unsafe { (call.outputs[0].slice_mut::<i32>()?, call.outputs[1].slice_mut::<f32>()?) };
    let rows = ids.len();
    if settings.temperature == 0.0 && settings.penalty == 1.0 {
        for (row, found) in greedy(context, logits, vocabulary).into_iter().enumerate() {
            let (id, log_prob) = found.ok_or_else(|| invalid_logits(row))?;
            (ids[row], log_probs[row]) = (id as i32, log_prob);
        }
        return Ok(());
    }
    let (ids_at, log_probs_at) = (SharedMut::new(ids), SharedMut::new(log_probs));
    context.pool.run(rows, &|row| {
        let mut own = logits[row * vocabulary..(row + 1) * vocabulary].to_vec();
        let seen = if length == 0 { &[][..] } else { &history[row * length..(row + 1) * length] };
        let (id, log_prob) = sample_row(context, &settings, row, &mut own, seen)
            .map_or((-1, f32::NAN), |(id, log_prob)| (id as i32, log_prob));
        // SAFETY: tasks own one element each.
        unsafe {
            ids_at.slice(row, row + 1)[0] = id;
            log_probs_at.slice(row, row + 1)[0] = log_prob;
        }
    });

    let ids = call.outputs[0].slice::<i32>()?;
    match ids.iter().position(|id| *id < 0) {
        Some(row) => Err(invalid_logits(row)),
        None => Ok(()),
    }
}
