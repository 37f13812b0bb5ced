//! Gradient norm, finiteness and scaling.

use super::{chunks, clip_coefficient, in_place};
use crate::cpu::pool::SharedMut;
use crate::cpu::simd::span::get;
use crate::cpu::simd::{Kernel, Simd, dispatch};
use crate::cpu::{CpuCall, CpuContext};
use crate::error::Result;

/// Σ x² of a chunk: squares in f32 where they fit, else in f64.
struct Squares<'a>(&'a [f32]);

impl Kernel for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let mut total = 0.0f64;
        // Short runs keep the f32 partial sums exact to a few ulp.
        for part in self.0.chunks(1024) {
            let mut sum = s.splat(0.0);
            let mut at = 0;
            while at < part.len() {
                let v = get(s, part, at, (part.len() - at).min(S::LANES));
                sum = s.fma(v, v, sum);
                at += S::LANES;
            }
            let sum = f64::from(s.sum(sum));
            // Overflow or underflow of the f32 squares: the exact way.
            let exact = || part.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>();
            total += if sum.is_finite() && sum > 1e-30 { sum } else { exact() };
        }
        total
    }
}

/// norm = √ Σ x² over all tensors; chunks are fixed and added in order in f64.
///
/// # Errors
/// Those of operand access.
pub fn norm(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let tensors = call.variadic().iter().map(|view| view.slice::<f32>()).collect::<Result<Vec<_>>>()?;
    let tasks = chunks(tensors.iter().map(|values| values.len()));
    let mut partial = vec![0.0f64; tasks.len()];
    let shared = SharedMut::new(&mut partial);
    context.pool.run(tasks.len(), &|task| {
        let (tensor, start, end) = tasks[task];
        // SAFETY: tasks own disjoint elements.
        unsafe { shared.slice(task, task + 1)[0] = dispatch(context.isa, Squares(&tensors[tensor][start..end])) };
    });
    // SAFETY: the output of this call.
    unsafe { call.outputs[0].slice_mut::<f32>()?[0] = partial.iter().sum::<f64>().sqrt() as f32 };
    Ok(())
}

/// Whether a chunk is finite: x·0 is 0 for finite x, NaN otherwise.
struct Finite<'a>(&'a [f32]);

impl Kernel for Finite<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        let mut sum = s.splat(0.0);
        let mut at = 0;
        while at < self.0.len() {
            let v = get(s, self.0, at, (self.0.len() - at).min(S::LANES));
            sum = s.fma(v, s.splat(0.0), sum);
            at += S::LANES;
        }
        s.sum(sum) == 0.0
    }
}

/// finite = 1 when no element is NaN or infinite.
///
/// # Errors
/// Those of operand access.
pub fn all_finite(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let tensors = call.variadic().iter().map(|view| view.slice::<f32>()).collect::<Result<Vec<_>>>()?;
    let tasks = chunks(tensors.iter().map(|values| values.len()));
    let finite = std::sync::atomic::AtomicBool::new(true);
    context.pool.run(tasks.len(), &|task| {
        let (tensor, start, end) = tasks[task];
        if !dispatch(context.isa, Finite(&tensors[tensor][start..end])) {
            finite.store(false, std::sync::atomic::Ordering::Relaxed);
        }
    });
    // SAFETY: the output of this call.
    unsafe { call.outputs[0].slice_mut::<f32>()?[0] = f32::from(finite.into_inner()) };
    Ok(())
}

/// grad *= min(1, maxNorm/(norm + 1e-6)).
///
/// # Errors
/// Those of operand access.
pub fn scale(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let norm = call.input("norm").slice::<f32>()?[0];
    let factor = clip_coefficient(norm, call.attributes.float("maxNorm"));
    if factor == 1.0 {
        return Ok(());
    }
    let views = call.variadic();
    // SAFETY: the gradients are declared as written by this op.
    let tensors = views.iter().map(|view| unsafe { in_place::<f32>(view) }).collect::<Result<Vec<_>>>()?;
    let tasks = chunks(views.iter().map(|view| view.spec.elements()));
    context.pool.run(tasks.len(), &|task| {
        let (tensor, start, end) = tasks[task];
        // SAFETY: tasks own disjoint ranges of distinct tensors.
        for value in unsafe { tensors[tensor].slice(start, end) } {
            *value *= factor;
        }
    });
    Ok(())
}
