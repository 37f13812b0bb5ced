//! Dot products of a few rows with bf16 weights as they lie, in pairs of bf16 (AVX-512-BF16).
//!
//! A weight is neither widened nor loaded on its own, which leaves the processor room to look far ahead in memory.

use crate::cpu::gemm::few_rows::{AHEAD, GROUP};
use crate::cpu::simd::prefetch_far;
use std::arch::x86_64::*;

/// Weights of one step: four vectors of pairs.
pub const STEP: usize = 128;

/// Writes x, which is rounded to bf16 already, as bf16.
pub fn narrow(x: &[f32], target: &mut [u32]) {
    assert_eq!(x.len(), 2 * target.len());
    for (pair, to) in x.chunks_exact(2).zip(target) {
        *to = (pair[0].to_bits() >> 16) | (pair[1].to_bits() & 0xffff_0000);
    }
}

/// Dot products of `count` weight rows of `depth`, `stride` elements apart, with every row of x from [`narrow`]; those of
/// one weight row together.
///
/// # Panics
/// When extents disagree or the depth is not whole steps.
///
/// # Safety
/// AVX-512 with BF16 must be present.
pub unsafe fn dots(weights: &[u16], stride: usize, count: usize, depth: usize, x: &[u32], sums: &mut [f32]) {
    if sums.is_empty() {
        return;
    }
    let (rows, words) = (sums.len() / count, depth / 2);
    assert!(depth.is_multiple_of(STEP) && weights.len() >= (count - 1) * stride + depth);
    assert_eq!((sums.len(), x.len()), (rows * count, rows * words));
    for (group, x) in x.chunks(GROUP * words).enumerate() {
        let at = |row: usize| x[row * words..(row + 1) * words].as_ptr();
        let sums = sums[group * GROUP..].as_mut_ptr();
        // SAFETY: the instruction set by the caller; rows of x, weights and sums exist as asserted.
        unsafe {
            match x.len() / words {
                1 => group_dots(weights, stride, count, depth, [at(0)], sums, rows),
                2 => group_dots(weights, stride, count, depth, [at(0), at(1)], sums, rows),
                3 => group_dots(weights, stride, count, depth, [at(0), at(1), at(2)], sums, rows),
                _ => group_dots(weights, stride, count, depth, [at(0), at(1), at(2), at(3)], sums, rows),
            }
        }
    }
}

/// # Safety
/// As for [`dots`]; sums of one row of x lie `rows` apart.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn group_dots<const M: usize>(
    weights: &[u16],
    stride: usize,
    count: usize,
    depth: usize,
    x: [*const u32; M],
    to: *mut f32,
    rows: usize,
) {
    for row in 0..count {
        let weights = weights[row * stride..row * stride + depth].as_ptr();
        let mut sums = [[_mm512_setzero_ps(); 4]; M];
        for at in (0..depth).step_by(STEP) {
            for part in 0..4 {
                // SAFETY: whole steps of weights and of rows of x; prefetches may point anywhere. Renames of registers.
                unsafe {
                    let at = at + 32 * part;
                    let weights = weights.add(at);
                    prefetch_far(weights.cast::<u8>().wrapping_add(AHEAD));
                    let weights: __m512bh = std::mem::transmute(_mm512_loadu_si512(weights.cast()));
                    for m in 0..M {
                        let x = std::mem::transmute::<__m512i, __m512bh>(_mm512_loadu_si512(x[m].add(at / 2).cast()));
                        sums[m][part] = _mm512_dpbf16_ps(sums[m][part], weights, x);
                    }
                }
            }
        }
        for m in 0..M {
            let (front, back) = (_mm512_add_ps(sums[m][0], sums[m][1]), _mm512_add_ps(sums[m][2], sums[m][3]));
            // SAFETY: a sum of this row.
            unsafe { *to.add(row * rows + m) = _mm512_reduce_add_ps(_mm512_add_ps(front, back)) };
        }
    }
}
