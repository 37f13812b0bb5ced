//! Micro-kernel for tile registers (AMX): 32x32, four accumulators, 32 values of k per `tdpbf16ps`.
//!
//! Two tiles of A and two of B feed four products of 16 cycles; each tile is loaded once for two of them.

use crate::cpu::gemm::kernel::{MicroKernel, PanelWord, RowLayout, TileFn};
use crate::cpu::isa::Isa;

#[cfg(target_arch = "x86_64")]
use crate::cpu::amx::{Columns, Sums, multiply};
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// AMX-BF16, 32x32, 32 k per step.
#[cfg(target_arch = "x86_64")]
pub const AMX_BF16: MicroKernel = MicroKernel {
    isa: Isa::AmxBf16,
    name: "amxbf16 32x32",
    rows: 32,
    columns: 32,
    layout: RowLayout::Tiles,
    word: PanelWord::Bf16Pair,
    block_words: 512,
    row_block_bytes: 1 << 20,
    tiles: heights!(
        1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32
    ),
};

#[cfg(not(target_arch = "x86_64"))]
pub use super::tile_portable::KERNEL as AMX_BF16;

#[cfg(target_arch = "x86_64")]
macro_rules! heights {
    ($($rows:literal)*) => { &[$([tile::<$rows, 1> as TileFn, tile::<$rows, 2> as TileFn]),*] };
}
#[cfg(target_arch = "x86_64")]
use heights;

/// See [`TileFn`]; `steps` is a multiple of 16.
///
/// # Safety
/// As [`TileFn`], and the calling thread holds [`crate::cpu::amx::Tiles`].
#[cfg(target_arch = "x86_64")]
unsafe fn tile<const R: usize, const V: usize>(
    steps: usize,
    a: *const u32,
    b: *const u32,
    alpha: f32,
    c: *mut f32,
    stride: usize,
    accumulate: bool,
) {
    // C comes from a farther cache, line by line: asked for now, it is there when the sums are.
    for row in 0..R {
        for line in 0..V {
            // SAFETY: a prefetch never faults.
            unsafe { _mm_prefetch::<_MM_HINT_T1>(c.wrapping_add(row * stride + 16 * line).cast()) };
        }
    }
    // SAFETY: by the caller.
    unsafe {
        if alpha == 1.0 && R.is_multiple_of(16) {
            return multiply::<V>(R > 16, steps, a, Columns { at: b, stride: 16 * V }, c, stride, accumulate);
        }
        let mut sums = Sums([0.0; 32 * 32]);
        multiply::<V>(R > 16, steps, a, Columns { at: b, stride: 16 * V }, sums.0.as_mut_ptr(), 16 * V, false);
        add::<V>(R, &sums, alpha, c, stride, accumulate);
    }
}

/// C = alpha·sums (+ C) in `rows` rows of 16 `V` columns.
///
/// # Safety
/// C covers them, and AVX-512F exists.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn add<const V: usize>(rows: usize, sums: &Sums, alpha: f32, c: *mut f32, stride: usize, accumulate: bool) {
    let scale = _mm512_set1_ps(alpha);
    for row in 0..rows {
        for v in 0..V {
            // SAFETY: by the caller; `sums` holds 32 rows of 32.
            unsafe {
                let sum = _mm512_load_ps(sums.0.as_ptr().add((row * V + v) * 16));
                let target = c.add(row * stride + 16 * v);
                let value = if accumulate {
                    _mm512_fmadd_ps(sum, scale, _mm512_loadu_ps(target))
                } else {
                    _mm512_mul_ps(sum, scale)
                };
                _mm512_storeu_ps(target, value);
            }
        }
    }
}
