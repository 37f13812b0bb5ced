//! Layer normalisation, forward and backward.

use super::norm::{rows_per_part, sum_parts};
use super::operand::as_f32;
use super::pool::SharedMut;
use super::simd::span::{get, put};
use super::simd::{Kernel, Simd, dispatch};
use super::{CpuCall, CpuContext, CpuKernel};
use crate::error::Result;

/// Kernels of this file.
pub const KERNELS: &[(&str, CpuKernel)] = &[("layerNorm", forward), ("layerNormBackward", backward)];

struct Forward<'a> {
    columns: usize,
    epsilon: f32,
    weight: &'a [f32],
    bias: Option<&'a [f32]>,
    x: &'a [f32],
    y: &'a mut [f32],
    mean: &'a mut [f32],
    inverse: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let columns = self.columns;
        for row in 0..self.mean.len() {
            let x = &self.x[row * columns..(row + 1) * columns];
            let y = &mut self.y[row * columns..(row + 1) * columns];
            let mut sum = s.splat(0.0);
            let mut at = 0;
            while at < columns {
                sum = s.add(sum, get(s, x, at, (columns - at).min(S::LANES)));
                at += S::LANES;
            }
            let mean = s.sum(sum) / columns as f32;
            // Second pass over a row in L1: the one-pass formula cancels when |mean| ≫ deviation.
            let mut squares = 0.0;
            let mut vector = s.splat(0.0);
            let mut at = 0;
            while at < columns {
                let count = (columns - at).min(S::LANES);
                if count == S::LANES {
                    let d = s.sub(get(s, x, at, count), s.splat(mean));
                    vector = s.fma(d, d, vector);
                } else {
                    squares = x[at..].iter().map(|value| (value - mean) * (value - mean)).sum();
                }
                at += S::LANES;
            }
            squares += s.sum(vector);
            let inverse = 1.0 / (squares / columns as f32 + self.epsilon).sqrt();
            (self.mean[row], self.inverse[row]) = (mean, inverse);
            let mut at = 0;
            while at < columns {
                let count = (columns - at).min(S::LANES);
                let normal = s.mul(s.sub(get(s, x, at, count), s.splat(mean)), s.splat(inverse));
                let mut value = s.mul(normal, get(s, self.weight, at, count));
                if let Some(bias) = self.bias {
                    value = s.add(value, get(s, bias, at, count));
                }
                put(s, y, at, count, value);
                at += S::LANES;
            }
        }
    }
}

fn forward(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let x = as_f32(&call.input("x"))?;
    let x = &*x;
    let weight = as_f32(&call.input("weight"))?;
    let bias = call.optional("bias").map(|view| as_f32(&view)).transpose()?;
    let columns = weight.len();
    let epsilon = call.attributes.float("epsilon");
    // SAFETY: distinct outputs of this call.
    let [y, mean, inverse] = unsafe {
        [call.outputs[0].slice_mut()?, call.outputs[1].slice_mut()?, call.outputs[2].slice_mut()?].map(SharedMut::new)
    };
    let rows = x.len() / columns.max(1);
    context.pool.for_chunks(rows, (16_384 / columns.max(1)).max(1), &|first, last| {
        // SAFETY: tasks own disjoint rows.
        let kernel = unsafe {
            Forward {
                columns,
                epsilon,
                weight: &weight,
                bias: bias.as_deref(),
                x: &x[first * columns..last * columns],
                y: y.slice(first * columns, last * columns),
                mean: mean.slice(first, last),
                inverse: inverse.slice(first, last),
            }
        };
        dispatch(context.isa, kernel);
    });
    Ok(())
}

struct Backward<'a> {
    columns: usize,
    weight: &'a [f32],
    dy: &'a [f32],
    x: &'a [f32],
    mean: &'a [f32],
    inverse: &'a [f32],
    dx: &'a mut [f32],
    /// Partial dW and dB of this task.
    sums: Option<(&'a mut [f32], &'a mut [f32])>,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let columns = self.columns;
        for row in 0..self.mean.len() {
            let span = row * columns..(row + 1) * columns;
            let (x, dy, dx) = (&self.x[span.clone()], &self.dy[span.clone()], &mut self.dx[span]);
            let (mean, inverse) = (s.splat(self.mean[row]), s.splat(self.inverse[row]));
            let (mut sum, mut dot) = (s.splat(0.0), s.splat(0.0));
            let mut at = 0;
            while at < columns {
                let count = (columns - at).min(S::LANES);
                let gradient = get(s, dy, at, count);
                // Lanes beyond the row have gradient 0, so they add nothing.
                let normal = s.mul(s.sub(get(s, x, at, count), mean), inverse);
                let weighted = s.mul(gradient, get(s, self.weight, at, count));
                sum = s.add(sum, weighted);
                dot = s.fma(weighted, normal, dot);
                if let Some((dw, db)) = &mut self.sums {
                    let w = s.fma(gradient, normal, get(s, dw, at, count));
                    put(s, dw, at, count, w);
                    let b = s.add(gradient, get(s, db, at, count));
                    put(s, db, at, count, b);
                }
                at += S::LANES;
            }
            let sum = s.splat(s.sum(sum) / columns as f32);
            let dot = s.splat(s.sum(dot) / columns as f32);
            let mut at = 0;
            while at < columns {
                let count = (columns - at).min(S::LANES);
                let normal = s.mul(s.sub(get(s, x, at, count), mean), inverse);
                let weighted = s.mul(get(s, dy, at, count), get(s, self.weight, at, count));
                let value = s.mul(inverse, s.fnma(normal, dot, s.sub(weighted, sum)));
                put(s, dx, at, count, value);
                at += S::LANES;
            }
        }
    }
}

fn backward(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let dy = as_f32(&call.input("dy"))?;
    let dy = &*dy;
    let x = as_f32(&call.input("x"))?;
    let x = &*x;
    let weight = as_f32(&call.input("weight"))?;
    let mean = call.input("mean").slice::<f32>()?;
    let inverse = call.input("inverseStd").slice::<f32>()?;
    let (columns, rows) = (weight.len(), mean.len());
    let wanted = call.outputs.len() > 1;
    // SAFETY: an output of this call.
    let dx = SharedMut::new(unsafe { call.outputs[0].slice_mut::<f32>()? });
    let per_part = if wanted { rows_per_part(rows) } else { (16_384 / columns.max(1)).max(1) };
    let parts = if wanted { rows.div_ceil(per_part) } else { 0 };
    let mut partial = vec![0.0; 2 * parts * columns];
    let (weights, biases) = partial.split_at_mut(parts * columns);
    let (shared_weights, shared_biases) = (SharedMut::new(weights), SharedMut::new(biases));
    context.pool.for_chunks(rows, per_part, &|first, last| {
        let part = first / per_part;
        let span = first * columns..last * columns;
        // SAFETY: tasks own disjoint rows and parts.
        let kernel = unsafe {
            Backward {
                columns,
                weight: &weight,
                dy: &dy[span.clone()],
                x: &x[span.clone()],
                mean: &mean[first..last],
                inverse: &inverse[first..last],
                dx: dx.slice(span.start, span.end),
                sums: wanted.then(|| {
                    let range = (part * columns, (part + 1) * columns);
                    (shared_weights.slice(range.0, range.1), shared_biases.slice(range.0, range.1))
                }),
            }
        };
        dispatch(context.isa, kernel);
    });
    if wanted {
        // SAFETY: distinct outputs of this call.
        unsafe {
            sum_parts(weights, call.outputs[1].slice_mut::<f32>()?);
            sum_parts(biases, call.outputs[2].slice_mut::<f32>()?);
        }
    }
    Ok(())
}
