//! Reductions and softmax. Partitions are fixed by the shape, partial sums are joined in order in f64.

use super::operand::as_f32;
use super::pool::SharedMut;
use super::simd::math::{exp, log};
use super::simd::span::{get, put};
use super::simd::{Kernel, Simd, dispatch};
use super::{CpuCall, CpuContext, CpuKernel};
use crate::error::Result;
use crate::ops::{Broadcast, Over};

/// Kernels of this file.
pub const KERNELS: &[(&str, CpuKernel)] = &[
    ("sum", |context, call| reduce(context, call, Reduction::Sum)),
    ("mean", |context, call| reduce(context, call, Reduction::Mean)),
    ("max", |context, call| reduce(context, call, Reduction::Max)),
    ("argmax", argmax),
    ("sumTo", sum_to),
    ("softmax", |context, call| softmax(context, call, false)),
    ("logSoftmax", |context, call| softmax(context, call, true)),
    ("softmaxBackward", |context, call| softmax_backward(context, call, false)),
    ("logSoftmaxBackward", |context, call| softmax_backward(context, call, true)),
];

const CHUNK: usize = 16_384;

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Reduction {
    Sum,
    Mean,
    Max,
}

/// Sum or maximum of a slice.
pub(super) struct Fold<'a>(pub &'a [f32], pub Reduction);

impl Kernel for Fold<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (values, max) = (self.0, self.1 == Reduction::Max);
        let start = if max { f32::NEG_INFINITY } else { 0.0 };
        let mut sums = [s.splat(start); 4];
        let whole = values.len() / (4 * S::LANES) * (4 * S::LANES);
        let mut nan = s.splat(0.0);
        let mut at = 0;
        while at < whole {
            for (lane, sum) in sums.iter_mut().enumerate() {
                let value = get(s, values, at + lane * S::LANES, S::LANES);
                if max {
                    // x − x is NaN for NaN (and ±∞, which the caller resolves).
                    nan = s.add(nan, s.select(s.eq(value, value), s.splat(0.0), value));
                    *sum = s.max(*sum, value);
                } else {
                    *sum = s.add(*sum, value);
                }
            }
            at += 4 * S::LANES;
        }
        if !max {
            let total = s.add(s.add(sums[0], sums[1]), s.add(sums[2], sums[3]));
            return s.sum(total) + values[whole..].iter().sum::<f32>();
        }
        let mut highest = s.largest(s.max(s.max(sums[0], sums[1]), s.max(sums[2], sums[3])));
        let mut invalid = s.sum(nan);
        for value in &values[whole..] {
            highest = highest.max(*value);
            if value.is_nan() {
                invalid = *value;
            }
        }
        if invalid.is_nan() { invalid } else { highest }
    }
}

/// Sum of a long slice: fixed chunks in f32, joined in f64.
pub fn total(context: &CpuContext, x: &[f32]) -> f64 {
    let mut partial = vec![0.0f32; x.len().div_ceil(CHUNK)];
    let shared = SharedMut::new(&mut partial);
    context.pool.for_chunks(x.len(), CHUNK, &|start, end| {
        let sum = dispatch(context.isa, Fold(&x[start..end], Reduction::Sum));
        // SAFETY: tasks own disjoint elements.
        unsafe { shared.slice(start / CHUNK, start / CHUNK + 1)[0] = sum };
    });
    partial.iter().map(|value| f64::from(*value)).sum()
}

fn combine_max(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(f32::NEG_INFINITY, |a, b| if a.is_nan() || a > b { a } else { b })
}

fn reduce(context: &CpuContext, call: &CpuCall<'_>, reduction: Reduction) -> Result<()> {
    let view = call.input("x");
    let x = as_f32(&view)?;
    let x = &*x;
    // SAFETY: the output of this call.
    let y = unsafe { call.outputs[0].slice_mut::<f32>()? };
    match Over::of(&call.attributes)? {
        Over::All => {
            y[0] = match reduction {
                Reduction::Sum => total(context, x) as f32,
                Reduction::Mean => (total(context, x) / x.len() as f64) as f32,
                Reduction::Max => combine_max(x.chunks(CHUNK).map(|part| dispatch(context.isa, Fold(part, reduction)))),
            };
        }
        Over::Last => {
            let columns = view.spec.last();
            let shared = SharedMut::new(y);
            let rows = view.spec.rows();
            context.pool.for_chunks(rows, (CHUNK / columns.max(1)).max(1), &|first, last| {
                // SAFETY: tasks own disjoint rows.
                let y = unsafe { shared.slice(first, last) };
                for (row, y) in (first..last).zip(y) {
                    *y = dispatch(context.isa, Fold(&x[row * columns..(row + 1) * columns], reduction));
                    if reduction == Reduction::Mean {
                        *y /= columns as f32;
                    }
                }
            });
        }
        Over::First => {
            let rows = view.spec.shape[0];
            if reduction == Reduction::Max {
                y.fill(f32::NEG_INFINITY);
                for row in x.chunks_exact(y.len().max(1)) {
                    y.iter_mut().zip(row).for_each(|(y, x)| {
                        if !(y.is_nan() || *y > *x) {
                            *y = *x;
                        }
                    });
                }
            } else {
                sum_rows(context, x, y);
                if reduction == Reduction::Mean {
                    y.iter_mut().for_each(|y| *y /= rows as f32);
                }
            }
        }
    }
    Ok(())
}

/// y[c] = Σ_r x[r, c]: tasks own columns, rows are added in order.
fn sum_rows(context: &CpuContext, x: &[f32], y: &mut [f32]) {
    let columns = y.len();
    let shared = SharedMut::new(y);
    context.pool.for_chunks(columns, 256, &|first, last| {
        // SAFETY: tasks own disjoint columns.
        let y = unsafe { shared.slice(first, last) };
        let mut sums = vec![0.0f64; last - first];
        for row in x.chunks_exact(columns) {
            sums.iter_mut().zip(&row[first..last]).for_each(|(sum, x)| *sum += f64::from(*x));
        }
        y.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum as f32);
    });
}

fn sum_to(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let (view, output) = (call.input("x"), call.outputs[0]);
    let x = as_f32(&view)?;
    let x = &*x;
    // SAFETY: the output of this call.
    let y = unsafe { output.slice_mut::<f32>()? };
    match Broadcast::of(&output.spec.shape, &view.spec.shape) {
        Some(Broadcast::Scalar) => y[0] = total(context, x) as f32,
        Some(Broadcast::Row) => sum_rows(context, x, y),
        Some(Broadcast::Column) => {
            for (row, y) in x.chunks_exact(view.spec.last()).zip(y) {
                *y = dispatch(context.isa, Fold(row, Reduction::Sum));
            }
        }
        _ => y.copy_from_slice(x),
    }
    Ok(())
}

/// Lowest index of the largest value; a NaN counts as largest.
pub fn argmax_of(row: &[f32]) -> usize {
    let mut best = 0;
    for (index, value) in row.iter().enumerate() {
        if *value > row[best] || (value.is_nan() && !row[best].is_nan()) {
            best = index;
        }
    }
    best
}

fn argmax(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let view = call.input("x");
    let (x, columns) = (as_f32(&view)?, view.spec.last());
    let x = &*x;
    // SAFETY: the output of this call.
    let y = SharedMut::new(unsafe { call.outputs[0].slice_mut::<i32>()? });
    context.pool.for_chunks(view.spec.rows(), (CHUNK / columns.max(1)).max(1), &|first, last| {
        // SAFETY: tasks own disjoint rows.
        for (row, y) in (first..last).zip(unsafe { y.slice(first, last) }) {
            *y = argmax_of(&x[row * columns..(row + 1) * columns]) as i32;
        }
    });
    Ok(())
}

/// Softmax or its logarithm of one row.
struct SoftmaxRow<'a> {
    x: &'a [f32],
    y: &'a mut [f32],
    logarithm: bool,
}

impl Kernel for SoftmaxRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let columns = self.x.len();
        let highest = s.splat(Fold(self.x, Reduction::Max).run(s));
        let mut vector = s.splat(0.0);
        let mut tail = 0.0;
        let mut at = 0;
        while at < columns {
            let count = (columns - at).min(S::LANES);
            let weight = exp(s, s.sub(get(s, self.x, at, count), highest));
            put(s, self.y, at, count, weight);
            if count == S::LANES {
                vector = s.add(vector, weight);
            } else {
                tail = self.y[at..].iter().sum();
            }
            at += S::LANES;
        }
        let total = s.splat(s.sum(vector) + tail);
        let inverse = s.div(s.splat(1.0), total);
        let shift = s.add(highest, log(s, total));
        let mut at = 0;
        while at < columns {
            let count = (columns - at).min(S::LANES);
            let value = if self.logarithm {
                s.sub(get(s, self.x, at, count), shift)
            } else {
                s.mul(get(s, self.y, at, count), inverse)
            };
            put(s, self.y, at, count, value);
            at += S::LANES;
        }
    }
}

fn softmax(context: &CpuContext, call: &CpuCall<'_>, logarithm: bool) -> Result<()> {
    let view = call.input("x");
    let (x, columns) = (as_f32(&view)?, view.spec.last());
    let x = &*x;
    // SAFETY: the output of this call.
    let y = SharedMut::new(unsafe { call.outputs[0].slice_mut::<f32>()? });
    context.pool.for_chunks(view.spec.rows(), (CHUNK / columns.max(1)).max(1), &|first, last| {
        for row in first..last {
            let span = row * columns..(row + 1) * columns;
            // SAFETY: tasks own disjoint rows.
            let y = unsafe { y.slice(span.start, span.end) };
            dispatch(context.isa, SoftmaxRow { x: &x[span], y, logarithm });
        }
    });
    Ok(())
}

/// dx = y·(dy − Σ dy·y), or for the logarithm dx = dy − eʸ·Σ dy.
struct SoftmaxRowBackward<'a> {
    dy: &'a [f32],
    y: &'a [f32],
    dx: &'a mut [f32],
    logarithm: bool,
}

impl Kernel for SoftmaxRowBackward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let columns = self.y.len();
        let mut sum = s.splat(0.0);
        let mut at = 0;
        while at < columns {
            let count = (columns - at).min(S::LANES);
            let dy = get(s, self.dy, at, count);
            sum = if self.logarithm { s.add(sum, dy) } else { s.fma(dy, get(s, self.y, at, count), sum) };
            at += S::LANES;
        }
        let sum = s.splat(s.sum(sum));
        let mut at = 0;
        while at < columns {
            let count = (columns - at).min(S::LANES);
            let (dy, y) = (get(s, self.dy, at, count), get(s, self.y, at, count));
            let dx = if self.logarithm { s.fnma(exp(s, y), sum, dy) } else { s.mul(y, s.sub(dy, sum)) };
            put(s, self.dx, at, count, dx);
            at += S::LANES;
        }
    }
}

fn softmax_backward(context: &CpuContext, call: &CpuCall<'_>, logarithm: bool) -> Result<()> {
    let view = call.input("y");
    let (y, dy, columns) = (as_f32(&view)?, as_f32(&call.input("dy"))?, view.spec.last());
    let (y, dy) = (&*y, &*dy);
    // SAFETY: the output of this call.
    let dx = SharedMut::new(unsafe { call.outputs[0].slice_mut::<f32>()? });
    context.pool.for_chunks(view.spec.rows(), (CHUNK / columns.max(1)).max(1), &|first, last| {
        for row in first..last {
            let span = row * columns..(row + 1) * columns;
            // SAFETY: tasks own disjoint rows.
            let dx = unsafe { dx.slice(span.start, span.end) };
            dispatch(context.isa, SoftmaxRowBackward { dy: &dy[span.clone()], y: &y[span], dx, logarithm });
        }
    });
    Ok(())
}
