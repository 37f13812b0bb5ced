//! RMS normalisation, forward and backward, one pass over memory each.

use super::isa::Isa;
use super::operand::as_f32;
use super::pool::SharedMut;
use super::simd::span::{Stored, get, put};
use super::simd::{Kernel, Simd, dispatch};
use super::storage::Element;
use super::{CpuCall, CpuContext, CpuKernel, CpuView};
use crate::dtype::DType;
use crate::error::Result;
use half::bf16;

/// Kernels of this file.
pub const KERNELS: &[(&str, CpuKernel)] = &[("rmsNorm", forward), ("rmsNormBackward", backward)];

/// Elements per task.
const CHUNK: usize = 16_384;

/// Most partial sums of a weight gradient; the partition depends on the shape only.
pub const PARTS: usize = 16;

/// Rows per part of a reduction over rows, fixed by the shape.
pub fn rows_per_part(rows: usize) -> usize {
    rows.div_ceil(PARTS).max(16)
}

struct Forward<'a, X, Y> {
    columns: usize,
    epsilon: f32,
    weight: &'a [f32],
    weight_offset: f32,
    x: &'a [X],
    residual: Option<&'a [f32]>,
    y: &'a mut [Y],
    inverse: &'a mut [f32],
    sum: Option<&'a mut [f32]>,
}

impl<X: Stored, Y: Stored> Kernel for Forward<'_, X, Y> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let columns = self.columns;
        for row in 0..self.inverse.len() {
            let base = row * columns;
            let mut squares = s.splat(0.0);
            let mut at = 0;
            while at < columns {
                let count = (columns - at).min(S::LANES);
                let mut v = get(s, self.x, base + at, count);
                if let (Some(residual), Some(sum)) = (self.residual, self.sum.as_deref_mut()) {
                    v = s.add(v, get(s, residual, base + at, count));
                    put(s, sum, base + at, count, v);
                }
                squares = s.fma(v, v, squares);
                at += S::LANES;
            }
            let inverse = 1.0 / (s.sum(squares) / columns as f32 + self.epsilon).sqrt();
            self.inverse[row] = inverse;
            let scale = s.splat(inverse);
            let offset = s.splat(self.weight_offset);
            let sum = self.sum.as_deref();
            let mut at = 0;
            while at < columns {
                let count = (columns - at).min(S::LANES);
                let w = s.add(get(s, self.weight, at, count), offset);
                let v = match sum {
                    Some(sum) => get(s, sum, base + at, count),
                    None => get(s, self.x, base + at, count),
                };
                let v = s.mul(v, scale);
                put(s, self.y, base + at, count, s.mul(v, w));
                at += S::LANES;
            }
        }
    }
}

/// y = x normed row by row, without keeping the inverse root mean squares.
pub fn norm_rows(isa: Isa, x: &[f32], weight: &[f32], epsilon: f32, y: &mut [f32]) {
    let columns = weight.len();
    for (x, y) in x.chunks_exact(columns).zip(y.chunks_exact_mut(columns)) {
        let inverse = &mut [0.0];
        let kernel = Forward { columns, epsilon, weight, weight_offset: 0.0, x, residual: None, y, inverse, sum: None };
        dispatch(isa, kernel);
    }
}

fn forward(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    match (call.input("x").spec.dtype, call.outputs[0].spec.dtype) {
        (DType::BF16, DType::BF16) => forward_stored::<bf16, bf16>(context, call),
        (DType::BF16, _) => forward_stored::<bf16, f32>(context, call),
        (_, DType::BF16) => forward_stored::<f32, bf16>(context, call),
        _ => forward_stored::<f32, f32>(context, call),
    }
}

fn forward_stored<X: Stored + Element, Y: Stored + Element>(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let x = call.input("x").slice::<X>()?;
    let weight = as_f32(&call.input("weight"))?;
    let residual = call.optional("residual").map(|view| as_f32(&view)).transpose()?;
    let residual = residual.as_deref();
    let (columns, epsilon) = (weight.len(), call.attributes.float("epsilon"));
    let weight_offset = call.attributes.float("weightOffset");
    // SAFETY: distinct outputs of this call.
    let (y, inverse) = unsafe { (call.outputs[0].slice_mut::<Y>()?, call.outputs[1].slice_mut::<f32>()?) };
    let rows = inverse.len();
    let (y, inverse) = (SharedMut::new(y), SharedMut::new(inverse));
    // SAFETY: as above.
    let sum = call.outputs.get(2).map(|view| unsafe { view.slice_mut::<f32>() }).transpose()?.map(SharedMut::new);
    context.pool.for_chunks(rows, (CHUNK / columns.max(1)).max(1), &|first, last| {
        let span = first * columns..last * columns;
        // SAFETY: tasks own disjoint rows.
        let kernel = unsafe {
            Forward {
                columns,
                epsilon,
                weight: &weight,
                weight_offset,
                x: &x[span.clone()],
                residual: residual.map(|values| &values[span.clone()]),
                y: y.slice(span.start, span.end),
                inverse: inverse.slice(first, last),
                sum: sum.map(|values| values.slice(span.start, span.end)),
            }
        };
        dispatch(context.isa, kernel);
    });
    Ok(())
}

struct Backward<'a, Y, X, D> {
    columns: usize,
    weight: &'a [f32],
    weight_offset: f32,
    dy: &'a [Y],
    x: &'a [X],
    inverse: &'a [f32],
    residual: Option<&'a [f32]>,
    dx: &'a mut [D],
    dw: Option<&'a mut [f32]>,
}

impl<Y: Stored, X: Stored, D: Stored> Kernel for Backward<'_, Y, X, D> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let columns = self.columns;
        let offset = s.splat(self.weight_offset);
        if let Some(dw) = self.dw.as_deref_mut() {
            dw.fill(0.0);
        }
        for row in 0..self.inverse.len() {
            let base = row * columns;
            let inverse = s.splat(self.inverse[row]);
            let mut dot = s.splat(0.0);
            let mut at = 0;
            while at < columns {
                let count = (columns - at).min(S::LANES);
                let dy = get(s, self.dy, base + at, count);
                let normal = s.mul(get(s, self.x, base + at, count), inverse);
                let product = s.mul(dy, normal);
                let w = s.add(get(s, self.weight, at, count), offset);
                dot = s.fma(product, w, dot);
                if let Some(dw) = self.dw.as_deref_mut() {
                    let sum = s.add(get(s, dw, at, count), product);
                    put(s, dw, at, count, sum);
                }
                at += S::LANES;
            }
            let mean = s.splat(s.sum(dot) / columns as f32);
            let mut at = 0;
            while at < columns {
                let count = (columns - at).min(S::LANES);
                let dy = get(s, self.dy, base + at, count);
                let normal = s.mul(get(s, self.x, base + at, count), inverse);
                let w = s.add(get(s, self.weight, at, count), offset);
                let mut dx = s.mul(inverse, s.fnma(normal, mean, s.mul(dy, w)));
                if let Some(residual) = self.residual {
                    dx = s.add(dx, get(s, residual, base + at, count));
                }
                put(s, self.dx, base + at, count, dx);
                at += S::LANES;
            }
        }
    }
}

fn backward(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let is_stored = |view: CpuView<'_>| view.spec.dtype == DType::BF16;
    match (is_stored(call.input("dy")), is_stored(call.input("x")), is_stored(call.outputs[0])) {
        (false, false, false) => backward_stored::<f32, f32, f32>(context, call),
        (false, false, true) => backward_stored::<f32, f32, bf16>(context, call),
        (false, true, false) => backward_stored::<f32, bf16, f32>(context, call),
        (false, true, true) => backward_stored::<f32, bf16, bf16>(context, call),
        (true, false, false) => backward_stored::<bf16, f32, f32>(context, call),
        (true, false, true) => backward_stored::<bf16, f32, bf16>(context, call),
        (true, true, false) => backward_stored::<bf16, bf16, f32>(context, call),
        (true, true, true) => backward_stored::<bf16, bf16, bf16>(context, call),
    }
}

fn backward_stored<Y, X, D>(context: &CpuContext, call: &CpuCall<'_>) -> Result<()>
where
    Y: Stored + Element,
    X: Stored + Element,
    D: Stored + Element,
{
    let dy = call.input("dy").slice::<Y>()?;
    let x = call.input("x").slice::<X>()?;
    let weight = as_f32(&call.input("weight"))?;
    let inverse = call.input("inverseRms").slice::<f32>()?;
    let residual = call.optional("residualGradient").map(|view| as_f32(&view)).transpose()?;
    let residual = residual.as_deref();
    let (columns, rows) = (weight.len(), inverse.len());
    let weight_offset = call.attributes.float("weightOffset");
    // SAFETY: distinct outputs of this call.
    let dx = SharedMut::new(unsafe { call.outputs[0].slice_mut::<D>()? });
    // SAFETY: as above.
    let dw = call.outputs.get(1).map(|view| unsafe { view.slice_mut::<f32>() }).transpose()?;
    let per_part = if dw.is_some() { rows_per_part(rows) } else { (CHUNK / columns.max(1)).max(1) };
    let parts = if dw.is_some() { rows.div_ceil(per_part) } else { 0 };
    let mut partial = vec![0.0; parts * columns];
    let shared = SharedMut::new(&mut partial);
    context.pool.for_chunks(rows, per_part, &|first, last| {
        let span = first * columns..last * columns;
        let part = first / per_part;
        // SAFETY: tasks own disjoint rows and parts.
        let kernel = unsafe {
            Backward {
                columns,
                weight: &weight,
                weight_offset,
                dy: &dy[span.clone()],
                x: &x[span.clone()],
                inverse: &inverse[first..last],
                residual: residual.map(|values| &values[span.clone()]),
                dx: dx.slice(span.start, span.end),
                dw: (parts > 0).then(|| shared.slice(part * columns, (part + 1) * columns)),
            }
        };
        dispatch(context.isa, kernel);
    });
    if let Some(dw) = dw {
        sum_parts(&partial, dw);
    }
    Ok(())
}

/// Adds partial rows in order.
pub fn sum_parts(partial: &[f32], total: &mut [f32]) {
    total.fill(0.0);
    for part in partial.chunks_exact(total.len().max(1)) {
        for (sum, value) in total.iter_mut().zip(part) {
            *sum += value;
        }
    }
}
