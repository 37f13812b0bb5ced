//! Rotary embedding and attention in f64, with the whole score matrix.

use super::{OracleCall, OracleKernel};
use crate::cpu::attention::plan::{Segment, cached_segments, check_cache, packed_segments};
use crate::error::Result;

/// Kernels of this file.
pub const KERNELS: &[(&str, OracleKernel)] = &[
    ("rope", rope),
    ("attention", attention),
    ("attentionBackward", attention_backward),
    ("attentionDecode", decode),
    ("kvAppend", append),
    ("kvEnter", enter),
];

fn rope(call: &OracleCall<'_>) -> Result<()> {
    let view = call.input("x");
    let (heads, dim) = (view.spec.shape[1], view.spec.shape[2]);
    let (x, positions) = (view.values()?, call.input("positions").values()?);
    let direction = if call.attributes.flag("inverse") { -1.0 } else { 1.0 };
    let frequencies = call.input("inverseFrequencies").values()?;
    let turned = turn(x, positions, frequencies, heads, dim, call.attributes.number("attentionScale"), direction);
    // SAFETY: the output of this call.
    unsafe { call.outputs[0].values_mut()? }.copy_from_slice(&turned);
    Ok(())
}

/// x [T, H, D] with the first 2·`frequencies` elements of each head rotated, half-split.
fn turn(
    x: &[f64],
    positions: &[f64],
    frequencies: &[f64],
    heads: usize,
    dim: usize,
    scale: f64,
    direction: f64,
) -> Vec<f64> {
    let half = frequencies.len();
    let mut y = x.to_vec();
    for (token, position) in positions.iter().enumerate() {
        for head in 0..heads {
            let base = (token * heads + head) * dim;
            for i in 0..half {
                // The angle is defined as the f32 product, as in the reference implementation.
                let angle = f64::from(*position as f32 * frequencies[i] as f32);
                let (sine, cosine) = (angle.sin() * scale * direction, angle.cos() * scale);
                let (a, b) = (x[base + i], x[base + half + i]);
                y[base + i] = a * cosine - b * sine;
                y[base + half + i] = b * cosine + a * sine;
            }
        }
    }
    y
}

/// Everything about one (query, head): which keys it sees and with which weights.
struct Problem<'a> {
    q: &'a [f64],
    k: &'a [f64],
    heads: usize,
    kv_heads: usize,
    dim: usize,
    scale: f64,
    softcap: f64,
    causal: bool,
    window: usize,
}

impl<'a> Problem<'a> {
    fn new(call: &OracleCall<'a>, keys: &str, causal: bool) -> Result<Self> {
        let (q, k) = (call.input("q"), call.input(keys));
        let dim = q.spec.shape[2];
        let scale = call.attributes.number("scale");
        Ok(Self {
            q: q.values()?,
            k: k.values()?,
            heads: q.spec.shape[1],
            kv_heads: k.spec.shape[k.spec.shape.len() - 2],
            dim,
            scale: if scale == 0.0 { 1.0 / (dim as f64).sqrt() } else { scale },
            softcap: call.attributes.number("softcap"),
            causal,
            window: call.attributes.count("window"),
        })
    }

    fn key(&self, row: usize, head: usize) -> usize {
        (row * self.kv_heads + head / (self.heads / self.kv_heads)) * self.dim
    }

    /// (raw score, capped score) per visible key, as (key row, …).
    fn scores(&self, segment: &Segment, query: usize, head: usize) -> Vec<(usize, f64, f64)> {
        let position = segment.position + query;
        let at = ((segment.query + query) * self.heads + head) * self.dim;
        (0..segment.keys)
            .filter(|key| !self.causal || *key <= position)
            .filter(|key| self.window == 0 || position < key + self.window)
            .map(|key| {
                let row = self.key(segment.key + key, head);
                let dot: f64 = (0..self.dim).map(|d| self.q[at + d] * self.k[row + d]).sum();
                let raw = dot * self.scale;
                let score = if self.softcap > 0.0 { self.softcap * (raw / self.softcap).tanh() } else { raw };
                (segment.key + key, raw, score)
            })
            .collect()
    }

    fn forward(&self, segments: &[Segment], v: &[f64], o: &mut [f64], mut lse: Option<&mut [f64]>) {
        o.fill(0.0);
        for segment in segments {
            for query in 0..segment.queries {
                for head in 0..self.heads {
                    let scores = self.scores(segment, query, head);
                    let high = scores.iter().map(|s| s.2).fold(f64::NEG_INFINITY, f64::max);
                    let total: f64 = scores.iter().map(|s| (s.2 - high).exp()).sum();
                    let row = (segment.query + query) * self.heads + head;
                    for (key, _, score) in &scores {
                        let weight = (score - high).exp() / total;
                        for d in 0..self.dim {
                            o[row * self.dim + d] += weight * v[self.key(*key, head) + d];
                        }
                    }
                    if let Some(lse) = lse.as_deref_mut() {
                        lse[row] = high + total.ln();
                    }
                }
            }
        }
    }
}

fn integers(values: &[f64]) -> Vec<i32> {
    values.iter().map(|value| *value as i32).collect()
}

fn attention(call: &OracleCall<'_>) -> Result<()> {
    let problem = Problem::new(call, "k", call.attributes.flag("causal"))?;
    let segments = packed_segments(&integers(call.input("cuSeqlens").values()?), call.input("q").spec.shape[0])?;
    // SAFETY: distinct outputs of this call.
    let (o, lse) = unsafe { (call.outputs[0].values_mut()?, call.outputs[1].values_mut()?) };
    problem.forward(&segments, call.input("v").values()?, o, Some(lse));
    Ok(())
}

fn attention_backward(call: &OracleCall<'_>) -> Result<()> {
    let problem = Problem::new(call, "k", call.attributes.flag("causal"))?;
    let segments = packed_segments(&integers(call.input("cuSeqlens").values()?), call.input("q").spec.shape[0])?;
    let (v, gradient) = (call.input("v").values()?, call.input("dO").values()?);
    let (o, lse) = (call.input("o").values()?, call.input("lse").values()?);
    // SAFETY: distinct outputs of this call.
    let (dq, dk, dv) =
        unsafe { (call.outputs[0].values_mut()?, call.outputs[1].values_mut()?, call.outputs[2].values_mut()?) };
    for values in [&mut *dq, &mut *dk, &mut *dv] {
        values.fill(0.0);
    }
    let dim = problem.dim;
    for segment in &segments {
        for query in 0..segment.queries {
            for head in 0..problem.heads {
                let row = (segment.query + query) * problem.heads + head;
                let at = row * dim;
                let delta: f64 = (0..dim).map(|d| gradient[at + d] * o[at + d]).sum();
                for (key, raw, score) in problem.scores(segment, query, head) {
                    let weight = (score - lse[row]).exp();
                    let key = problem.key(key, head);
                    let dp: f64 = (0..dim).map(|d| gradient[at + d] * v[key + d]).sum();
                    let slope = if problem.softcap > 0.0 { 1.0 - (raw / problem.softcap).tanh().powi(2) } else { 1.0 };
                    let ds = weight * (dp - delta) * slope * problem.scale;
                    for d in 0..dim {
                        dv[key + d] += weight * gradient[at + d];
                        dk[key + d] += ds * problem.q[at + d];
                        dq[at + d] += ds * problem.k[key + d];
                    }
                }
            }
        }
    }
    Ok(())
}

fn decode(call: &OracleCall<'_>) -> Result<()> {
    let problem = Problem::new(call, "cacheK", true)?;
    let shape = &call.input("cacheK").spec.shape;
    let (slots, positions) = (call.input("slots").values()?, call.input("positions").values()?);
    let segments = cached_segments(&integers(slots), &integers(positions), shape[0], shape[1])?;
    // SAFETY: the output of this call.
    let o = unsafe { call.outputs[0].values_mut()? };
    problem.forward(&segments, call.input("cacheV").values()?, o, None);
    Ok(())
}

fn append(call: &OracleCall<'_>) -> Result<()> {
    write(call, "cacheK", call.input("k").values()?)?;
    write(call, "cacheV", call.input("v").values()?)
}

/// cache[slots[t], positions[t]] = row t.
fn write(call: &OracleCall<'_>, cache: &str, rows: &[f64]) -> Result<()> {
    let slots = integers(call.input("slots").values()?);
    let positions = integers(call.input("positions").values()?);
    let cache = call.input(cache);
    let shape = &cache.spec.shape;
    check_cache(&slots, &positions, shape[0], shape[1])?;
    let row = shape[2] * shape[3];
    // SAFETY: a declared in-place input of this call.
    let target = unsafe { cache.values_mut()? };
    for (token, (slot, position)) in slots.iter().zip(&positions).enumerate() {
        let place = (*slot as usize * shape[1] + *position as usize) * row;
        target[place..place + row].copy_from_slice(&rows[token * row..(token + 1) * row]);
    }
    Ok(())
}

fn enter(call: &OracleCall<'_>) -> Result<()> {
    let turned = |name: &str, norm: &str| -> Result<Vec<f64>> {
        let view = call.input(name);
        let (heads, dim) = (view.spec.shape[1], view.spec.shape[2]);
        let mut x = view.values()?.to_vec();
        if let Some(weight) = call.optional(norm) {
            rms_rows(&mut x, weight.values()?, call.attributes.number("epsilon"));
        }
        let frequencies = call.input("inverseFrequencies").values()?;
        let scale = call.attributes.number("attentionScale");
        Ok(turn(&x, call.input("positions").values()?, frequencies, heads, dim, scale, 1.0))
    };
    write(call, "cacheK", &turned("k", "kNorm")?)?;
    write(call, "cacheV", call.input("v").values()?)?;
    // SAFETY: the output of this call.
    unsafe { call.outputs[0].values_mut()? }.copy_from_slice(&turned("q", "qNorm")?);
    Ok(())
}

/// Norms rows by their root mean square.
fn rms_rows(x: &mut [f64], weight: &[f64], epsilon: f64) {
    for row in x.chunks_exact_mut(weight.len()) {
        let mean = row.iter().map(|value| value * value).sum::<f64>() / row.len() as f64;
        row.iter_mut().zip(weight).for_each(|(value, weight)| *value *= weight / (mean + epsilon).sqrt());
    }
}
