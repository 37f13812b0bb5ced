//! Checked vector access to slices, with partial vectors at the end.

use super::Simd;
use half::bf16;

/// Longest vector of any instruction set, in lanes.
const MOST_LANES: usize = 16;

/// Element types that activations are stored in; kernels compute on f32 whichever it is.
pub trait Stored: Copy + Send + Sync + 'static {
    /// `count` ≤ LANES values, missing lanes zero.
    /// # Safety
    /// `count` elements are readable at `at`.
    unsafe fn load<S: Simd>(s: S, at: *const Self, count: usize) -> S::F;
    /// Stores the first `count` ≤ LANES lanes, rounded to nearest even.
    /// # Safety
    /// `count` elements are writable at `at`.
    unsafe fn store<S: Simd>(s: S, at: *mut Self, count: usize, v: S::F);
}

impl Stored for f32 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, at: *const Self, count: usize) -> S::F {
        // SAFETY: by the caller.
        unsafe { if count == S::LANES { s.load(at) } else { s.load_part(at, count) } }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, at: *mut Self, count: usize, v: S::F) {
        // SAFETY: by the caller.
        unsafe { if count == S::LANES { s.store(at, v) } else { s.store_part(at, count, v) } }
    }
}

impl Stored for bf16 {
    #[inline(always)]
    unsafe fn load<S: Simd>(s: S, at: *const Self, count: usize) -> S::F {
        // SAFETY: by the caller; the buffer holds a vector.
        unsafe {
            if count == S::LANES {
                return s.load_bf16(at.cast());
            }
            let mut part = [0u16; MOST_LANES];
            std::ptr::copy_nonoverlapping(at.cast(), part.as_mut_ptr(), count);
            s.load_bf16(part.as_ptr())
        }
    }

    #[inline(always)]
    unsafe fn store<S: Simd>(s: S, at: *mut Self, count: usize, v: S::F) {
        // SAFETY: by the caller; the buffer holds a vector.
        unsafe {
            if count == S::LANES {
                return s.store_bf16(at.cast(), v);
            }
            let mut part = [0u16; MOST_LANES];
            s.store_bf16(part.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(part.as_ptr(), at.cast(), count);
        }
    }
}

/// `count` ≤ LANES values from `values[at..]`, missing lanes zero.
#[inline(always)]
pub fn get<S: Simd, T: Stored>(s: S, values: &[T], at: usize, count: usize) -> S::F {
    assert!(at + count <= values.len());
    // SAFETY: in bounds by the assertion.
    unsafe { T::load(s, values.as_ptr().add(at), count) }
}

/// Stores `count` ≤ LANES values to `values[at..]`.
#[inline(always)]
pub fn put<S: Simd, T: Stored>(s: S, values: &mut [T], at: usize, count: usize, v: S::F) {
    assert!(at + count <= values.len());
    // SAFETY: in bounds by the assertion.
    unsafe { T::store(s, values.as_mut_ptr().add(at), count, v) }
}
