//! Checked vector access to slices, with partial vectors at the end.

use super::Simd;

/// `count` ≤ LANES values from `values[at..]`, missing lanes zero.
#[inline(always)]
pub fn get<S: Simd>(s: S, values: &[f32], at: usize, count: usize) -> S::F {
    assert!(at + count <= values.len());
    // SAFETY: in bounds by the assertion.
    unsafe {
        if count == S::LANES { s.load(values.as_ptr().add(at)) } else { s.load_part(values.as_ptr().add(at), count) }
    }
}

/// Stores `count` ≤ LANES values to `values[at..]`.
#[inline(always)]
pub fn put<S: Simd>(s: S, values: &mut [f32], at: usize, count: usize, v: S::F) {
    assert!(at + count <= values.len());
    // SAFETY: in bounds by the assertion.
    unsafe {
        if count == S::LANES {
            s.store(values.as_mut_ptr().add(at), v);
        } else {
            s.store_part(values.as_mut_ptr().add(at), count, v);
        }
    }
}
