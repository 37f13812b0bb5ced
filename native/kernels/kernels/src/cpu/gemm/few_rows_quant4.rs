//! Dot products of a few rows with 4-bit weights, decoded in registers (AVX-512).
//!
//! Sixteen bytes hold the weights 0…31 of a row; their high nibbles are the even ones, the low nibbles the odd ones.
//! So x is laid out as sixteen even and sixteen odd values per 32, and one widening load, one shift and two table
//! look-ups decode 32 weights. The table is the codebook times the absmax of the block.

use crate::cpu::quant4::Quant4View;
use std::arch::x86_64::*;

/// Whether rows of `depth` weights from `first` on consist of whole blocks and whole groups of 32.
pub fn fits(view: &Quant4View<'_>, depth: usize, first: usize) -> bool {
    depth.is_multiple_of(view.block()) && first.is_multiple_of(view.block()) && view.block().is_multiple_of(32)
}

/// Lays a row of x out for [`dots`]: per 32 values the even ones, then the odd ones.
pub fn split_even_odd(x: &[f32], target: &mut [f32]) {
    for (from, to) in x.chunks_exact(32).zip(target.chunks_exact_mut(32)) {
        for index in 0..16 {
            to[index] = from[2 * index];
            to[16 + index] = from[2 * index + 1];
        }
    }
}

/// Dot products of the weights `first..first + depth` with `M` rows of x laid out by [`split_even_odd`]. With `rounds`
/// weights are rounded to bf16, as the inputs of a product in bf16 are.
///
/// # Safety
/// AVX-512 (F, BW, VL) must be present, with `rounds` BF16 too; [`fits`] must hold, the weights exist, and each row
/// of x hold `depth` values.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub unsafe fn dots<const M: usize>(
    view: &Quant4View<'_>,
    first: usize,
    depth: usize,
    x: [*const f32; M],
    rounds: bool,
) -> [f32; M] {
    let block = view.block();
    let codes = view.codes()[first / 2..(first + depth) / 2].as_ptr();
    // SAFETY: the codebook holds 16 values.
    let values = unsafe { _mm512_loadu_ps(view.values().as_ptr()) };
    // Two sums per row: even and odd weights.
    let mut even = [_mm512_setzero_ps(); M];
    let mut odd = [_mm512_setzero_ps(); M];
    for start in (0..depth).step_by(block) {
        let mut table = _mm512_mul_ps(values, _mm512_set1_ps(view.scale((first + start) >> view.shift())));
        if rounds {
            // SAFETY: a rename of the register.
            let halves: __m256i = unsafe { std::mem::transmute(_mm512_cvtneps_pbh(table)) };
            table = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)));
        }
        for at in (start..start + block).step_by(32) {
            // SAFETY: whole groups of 32 weights and values of x; prefetches may point anywhere.
            unsafe {
                _mm_prefetch::<_MM_HINT_T0>(codes.wrapping_add(at / 2 + 512).cast());
                let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(codes.add(at / 2).cast()));
                let first = _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(bytes), table);
                let second = _mm512_permutexvar_ps(bytes, table);
                for m in 0..M {
                    even[m] = _mm512_fmadd_ps(_mm512_loadu_ps(x[m].add(at)), first, even[m]);
                    odd[m] = _mm512_fmadd_ps(_mm512_loadu_ps(x[m].add(at + 16)), second, odd[m]);
                }
            }
        }
    }
    let mut sums = [0.0; M];
    for m in 0..M {
        sums[m] = _mm512_reduce_add_ps(_mm512_add_ps(even[m], odd[m]));
    }
    sums
}
