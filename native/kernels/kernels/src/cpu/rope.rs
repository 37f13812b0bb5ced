//! Rotary position embedding, half-split layout.

use super::operand::as_f32;
use super::pool::SharedMut;
use super::simd::span::{get, put};
use super::simd::{Kernel, Simd, dispatch};
use super::{CpuCall, CpuContext, CpuKernel};
use crate::error::Result;

/// Kernels of this file.
pub const KERNELS: &[(&str, CpuKernel)] = &[("rope", rope)];

struct Rotate<'a> {
    heads: usize,
    dim: usize,
    x: &'a [f32],
    y: &'a mut [f32],
    cosine: &'a [f32],
    sine: &'a [f32],
}

impl Kernel for Rotate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let half = self.cosine.len();
        for head in 0..self.heads {
            let x = &self.x[head * self.dim..(head + 1) * self.dim];
            let y = &mut self.y[head * self.dim..(head + 1) * self.dim];
            let mut at = 0;
            while at < half {
                let count = (half - at).min(S::LANES);
                let (a, b) = (get(s, x, at, count), get(s, x, half + at, count));
                let (c, n) = (get(s, self.cosine, at, count), get(s, self.sine, at, count));
                put(s, y, at, count, s.fnma(b, n, s.mul(a, c)));
                put(s, y, half + at, count, s.fma(a, n, s.mul(b, c)));
                at += S::LANES;
            }
            y[2 * half..].copy_from_slice(&x[2 * half..]);
        }
    }
}

/// y = rotation of x by ±position·frequency; the table of a position is made once for all its heads.
fn rope(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let view = call.input("x");
    let (heads, dim) = (view.spec.shape[1], view.spec.shape[2]);
    let x = view.slice::<f32>()?;
    let positions = call.input("positions").slice::<i32>()?;
    let frequencies = as_f32(&call.input("inverseFrequencies"))?;
    let scale = call.attributes.number("attentionScale");
    let direction = if call.attributes.flag("inverse") { -1.0 } else { 1.0 };
    // SAFETY: the output of this call.
    let y = SharedMut::new(unsafe { call.outputs[0].slice_mut::<f32>()? });
    let row = heads * dim;
    let half = frequencies.len();
    context.pool.for_chunks(positions.len(), (16_384 / row.max(1)).max(1), &|first, last| {
        let (mut cosine, mut sine) = (vec![0.0; half], vec![0.0; half]);
        let mut current = None;
        for token in first..last {
            if current != Some(positions[token]) {
                current = Some(positions[token]);
                for (index, frequency) in frequencies.iter().enumerate() {
                    // The angle is rounded to f32 as in the reference implementation, its sine and
                    // cosine are not.
                    let angle = f64::from(positions[token] as f32 * frequency);
                    cosine[index] = (angle.cos() * scale) as f32;
                    sine[index] = (angle.sin() * scale * direction) as f32;
                }
            }
            // SAFETY: tasks own disjoint tokens.
            let y = unsafe { y.slice(token * row, (token + 1) * row) };
            let x = &x[token * row..(token + 1) * row];
            dispatch(context.isa, Rotate { heads, dim, x, y, cosine: &cosine, sine: &sine });
        }
    });
    Ok(())
}
