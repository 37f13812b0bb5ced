//! Rotary position embedding, half-split layout.

use super::isa::Isa;
use super::operand::as_f32;
use super::pool::{Pool, SharedMut};
use super::simd::span::{Stored, get, put};
use super::simd::{Kernel, Simd, dispatch};
use super::storage::Element;
use super::{CpuCall, CpuContext, CpuKernel};
use crate::dtype::DType;
use crate::error::Result;
use half::bf16;
use std::sync::{Arc, Mutex, PoisonError};

/// Kernels of this file.
pub const KERNELS: &[(&str, CpuKernel)] = &[("rope", rope)];

struct Rotate<'a, T> {
    heads: usize,
    dim: usize,
    inverse: bool,
    x: &'a [T],
    y: &'a mut [T],
    cosine: &'a [f32],
    sine: &'a [f32],
}

impl<T: Stored> Kernel for Rotate<'_, T> {
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
                let n = if self.inverse { s.neg(n) } else { n };
                put(s, y, at, count, s.fnma(b, n, s.mul(a, c)));
                put(s, y, half + at, count, s.fma(a, n, s.mul(b, c)));
                at += S::LANES;
            }
            y[2 * half..].copy_from_slice(&x[2 * half..]);
        }
    }
}

/// Cosines and sines of the angles of a call, one row of `half` per token.
pub struct Table {
    positions: Vec<i32>,
    frequencies: Vec<f32>,
    scale: f64,
    cosine: Vec<f32>,
    sine: Vec<f32>,
}

/// Tables that are kept: queries and keys of every layer, forward and backward, turn by the same angles; models with
/// local and global layers have two sets.
const KEPT: usize = 3;
/// Angles of the largest table that is kept (16 MiB); longer calls compute theirs anew.
const MOST_ANGLES: usize = 1 << 21;

static TABLES: Mutex<Vec<Arc<Table>>> = Mutex::new(Vec::new());

impl Table {
    fn fits(&self, positions: &[i32], frequencies: &[f32], scale: f64) -> bool {
        self.scale == scale && self.frequencies == frequencies && self.positions == positions
    }

    fn make(pool: &Pool, positions: &[i32], frequencies: &[f32], scale: f64) -> Self {
        let half = frequencies.len();
        let mut cosine = vec![0.0; positions.len() * half];
        let mut sine = vec![0.0; positions.len() * half];
        let (cosines, sines) = (SharedMut::new(&mut cosine), SharedMut::new(&mut sine));
        pool.for_chunks(positions.len(), 1024_usize.div_ceil(half.max(1)), &|first, last| {
            for token in first..last {
                // SAFETY: tasks own disjoint tokens.
                let (cosine, sine) = unsafe {
                    (cosines.slice(token * half, (token + 1) * half), sines.slice(token * half, (token + 1) * half))
                };
                for (index, frequency) in frequencies.iter().enumerate() {
                    // The angle is rounded to f32 as in the reference implementation, its sine and cosine are not.
                    let angle = f64::from(positions[token] as f32 * frequency);
                    cosine[index] = (angle.cos() * scale) as f32;
                    sine[index] = (angle.sin() * scale) as f32;
                }
            }
        });
        Self { positions: positions.to_vec(), frequencies: frequencies.to_vec(), scale, cosine, sine }
    }

    /// Cosines and sines of a token.
    pub fn angles(&self, token: usize) -> (&[f32], &[f32]) {
        let half = self.frequencies.len();
        let span = token * half..(token + 1) * half;
        (&self.cosine[span.clone()], &self.sine[span])
    }

    /// The table of these angles: one that is kept, or a new one.
    pub fn of(pool: &Pool, positions: &[i32], frequencies: &[f32], scale: f64) -> Arc<Self> {
        let lock = || TABLES.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = lock().iter().find(|table| table.fits(positions, frequencies, scale)) {
            return Arc::clone(found);
        }
        let made = Arc::new(Self::make(pool, positions, frequencies, scale));
        if positions.len() * frequencies.len() <= MOST_ANGLES {
            let mut tables = lock();
            tables.truncate(KEPT - 1);
            tables.insert(0, Arc::clone(&made));
        }
        made
    }
}

/// Rotates the heads of one token, of extent `dim`, by its angles from [`Table::angles`], or back where `inverse`.
pub fn rotate<T: Stored>(isa: Isa, x: &[T], dim: usize, (cosine, sine): (&[f32], &[f32]), inverse: bool, y: &mut [T]) {
    dispatch(isa, Rotate { heads: x.len() / dim, dim, inverse, x, y, cosine, sine });
}

/// y = rotation of x by ±position·frequency.
fn rope(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    match call.input("x").spec.dtype {
        DType::BF16 => rope_stored::<bf16>(context, call),
        _ => rope_stored::<f32>(context, call),
    }
}

fn rope_stored<T: Stored + Element>(context: &CpuContext, call: &CpuCall<'_>) -> Result<()> {
    let view = call.input("x");
    let (heads, dim) = (view.spec.shape[1], view.spec.shape[2]);
    let x = view.slice::<T>()?;
    let positions = call.input("positions").slice::<i32>()?;
    let frequencies = as_f32(&call.input("inverseFrequencies"))?;
    let table = Table::of(context.pool, positions, &frequencies, call.attributes.number("attentionScale"));
    let inverse = call.attributes.flag("inverse");
    // SAFETY: the output of this call.
    let y = SharedMut::new(unsafe { call.outputs[0].slice_mut::<T>()? });
    let row = heads * dim;
    context.pool.for_chunks(positions.len(), (16_384 / row.max(1)).max(1), &|first, last| {
        for token in first..last {
            // SAFETY: tasks own disjoint tokens.
            let y = unsafe { y.slice(token * row, (token + 1) * row) };
            rotate(context.isa, &x[token * row..(token + 1) * row], dim, table.angles(token), inverse, y);
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::Table;
    use crate::cpu::pool::Pool;
    use std::sync::Arc;

    #[test]
    fn equal_angles_share_a_table_and_others_do_not() {
        let pool = Pool::new(2);
        let (positions, frequencies) = ([0, 1, 2, 0, 1], [1.0, 0.25]);
        let first = Table::of(&pool, &positions, &frequencies, 1.0);
        assert!(Arc::ptr_eq(&first, &Table::of(&pool, &positions, &frequencies, 1.0)));
        let scaled = Table::of(&pool, &positions, &frequencies, 2.0);
        assert_eq!(scaled.cosine[0], 2.0);
        let moved = Table::of(&pool, &[7, 1, 2, 0, 1], &frequencies, 1.0);
        assert_eq!(moved.sine[0], 7.0f32.sin());
        assert_eq!(first.sine[2 * 2 + 1], 0.5f32.sin());
    }
}
