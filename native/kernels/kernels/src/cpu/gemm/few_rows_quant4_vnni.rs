//! Dot products of a few rows with 4-bit weights in 16-bit integers on AVX-512 with VNNI.
//!
//! 64 bytes hold 128 weights in 32 words of four; word j has weight 4j in its bits 4–7, 4j + 1 in 0–3, 4j + 2 in 12–15 and
//! 4j + 3 in 8–11. `vpermw` takes the low five bits of a word for its index, so that a shift brings a code to its place and a
//! table that holds the 16 codebook values twice needs no mask: 32 weights for a shift and a look-up. `vpdpwssd`
//! multiplies them with x in pairs and adds. x is laid out to match, as four vectors of every fourth value.
//!
//! Codebook and x are integers of at most [`LARGEST`], x with a scale per [`STEP`] values. A lane adds the eight products of
//! eight successive weights, which stay below 8 · 16383² < 2^31 and belong to one block; one multiply-add in f32 brings them
//! to size. The error is bounded as in [`super::few_rows_quant4_avx2`], with parts of 128 instead of 32.

use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::few_rows::AHEAD_QUANT4;
use crate::cpu::gemm::few_rows_quant4_avx2::{LARGEST, Span};
use crate::cpu::quant4::ScaleReader;
use crate::cpu::quant4_scales_avx512::WideScales;
use crate::cpu::simd::prefetch_far;
use std::arch::asm;
use std::arch::x86_64::*;

/// Weights that one step decodes, and values of x that share a scale.
pub const STEP: usize = 128;

/// 32-bit words of x laid out per step: pairs of integers and the scale. Within a row the scales follow all pairs.
pub const STEP_WORDS: usize = STEP / 2 + 1;

/// Scales that are looked up together.
const SCALES: usize = 512;

/// Most scales of a step.
const MOST_SCALES: usize = 4;

/// Lays a row of x out. A step with NaN or infinity gets NaN as its scale.
///
/// # Safety
/// AVX-512 must be present, `x` be whole steps and `target` hold [`STEP_WORDS`] for each.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub unsafe fn lay_out(x: &[f32], target: &mut [u32]) {
    let (pairs, scales) = target.split_at_mut(x.len() / 2);
    for ((from, to), scale) in x.chunks_exact(STEP).zip(pairs.chunks_exact_mut(STEP / 2)).zip(scales) {
        let mut largest = _mm512_setzero_ps();
        // `max` may drop a NaN that a later value follows; the sum of differences keeps it.
        let mut unfit = _mm512_setzero_ps();
        for part in 0..8 {
            // SAFETY: 16 of 128 values.
            let size = _mm512_abs_ps(unsafe { _mm512_loadu_ps(from.as_ptr().add(16 * part)) });
            largest = _mm512_max_ps(largest, size);
            unfit = _mm512_add_ps(unfit, _mm512_sub_ps(size, size));
        }
        let largest = _mm512_reduce_max_ps(largest);
        let is_finite = _mm512_reduce_add_ps(unfit) == 0.0;
        let divisor = _mm512_set1_ps(if largest > 0.0 { largest } else { 1.0 });
        for part in 0..8 {
            // SAFETY: 16 of 128 values; four words of each fourth.
            unsafe {
                let values = _mm512_div_ps(_mm512_loadu_ps(from.as_ptr().add(16 * part)), divisor);
                let whole = _mm512_cvtps_epi32(_mm512_mul_ps(values, _mm512_set1_ps(LARGEST)));
                let words = _mm512_cvtepi32_epi16(whole);
                let to = to.as_mut_ptr().cast::<u16>().add(4 * part);
                _mm_storel_epi64(to.cast(), _mm256_cvtepi64_epi16(_mm256_srli_epi64::<16>(words)));
                _mm_storel_epi64(to.add(32).cast(), _mm256_cvtepi64_epi16(words));
                _mm_storel_epi64(to.add(64).cast(), _mm256_cvtepi64_epi16(_mm256_srli_epi64::<48>(words)));
                _mm_storel_epi64(to.add(96).cast(), _mm256_cvtepi64_epi16(_mm256_srli_epi64::<32>(words)));
            }
        }
        *scale = (if is_finite { largest / (LARGEST * LARGEST) } else { f32::NAN }).to_bits();
    }
}

/// Writes the dot products of the span with `M` rows of x, those of one weight row `rows` apart from the next's. `scales`
/// is scratch.
///
/// # Safety
/// AVX-512 with VNNI must be present; the first weight, K and stride be whole steps; blocks be of 32 or more; weights and
/// sums exist, and each row of x hold K values laid out by [`lay_out`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
pub unsafe fn dots<const M: usize>(
    span: Span<'_>,
    x: [*const u32; M],
    scales: &mut WordBuffer,
    sums: *mut f32,
    rows: usize,
) {
    let Span { view, first, count, stride, depth } = span;
    // Lanes hold eight weights each.
    let per_step = (STEP / view.block()).max(1);
    let lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let places = match per_step {
        1 => _mm512_setzero_si512(),
        2 => _mm512_srli_epi32::<3>(lane),
        _ => _mm512_srli_epi32::<2>(lane),
    };
    let codebook = view.values().map(|value| (value * LARGEST).round_ties_even() as i16);
    // SAFETY: 16 values of two bytes.
    let table = _mm512_broadcast_i64x4(unsafe { _mm256_loadu_si256(codebook.as_ptr().cast()) });
    let codes = view.codes()[first / 2..].as_ptr();
    let per_row = depth / STEP * per_step;
    // Rows that follow each other have their scales looked up together.
    let together = if stride == depth { (SCALES / per_row).max(1) } else { 1 };
    // A step reads four scales, whatever it needs.
    let scales = scales.floats(together * per_row + MOST_SCALES);
    let wide = match view.nested() {
        // SAFETY: the instruction set by the caller.
        Some(nested) if view.block() <= STEP => Some(unsafe { WideScales::new(nested) }),
        _ => None,
    };
    let mut reader = ScaleReader::new(view);
    let mut ends = Ends { sums: [_mm512_setzero_ps(); 4], to: [sums; 4], count: 0 };
    for begin in (0..count).step_by(together) {
        let end = (begin + together).min(count);
        let (weight, wanted) = (first + begin * stride, &mut scales[..(end - begin) * per_row]);
        match &wide {
            // SAFETY: the instruction set by the caller.
            Some(wide) => unsafe { wide.read(weight >> view.shift(), wanted) },
            None => reader.read(weight, STEP / per_step, wanted),
        }
        for row in begin..end {
            let codes = codes.wrapping_add(row * stride / 2);
            let scales = scales[(row - begin) * per_row..].as_ptr();
            let mut sums_of_row = [_mm512_setzero_ps(); M];
            for step in 0..depth / STEP {
                // SAFETY: whole steps of weights, of rows of x and of scales; prefetches may point anywhere.
                unsafe {
                    let codes = codes.add(step * STEP / 2);
                    prefetch_far(codes.wrapping_add(AHEAD_QUANT4));
                    let words = _mm512_loadu_si512(codes.cast());
                    let weights = [
                        _mm512_permutexvar_epi16(words, table),
                        _mm512_permutexvar_epi16(_mm512_srli_epi16::<4>(words), table),
                        _mm512_permutexvar_epi16(_mm512_srli_epi16::<8>(words), table),
                        _mm512_permutexvar_epi16(_mm512_srli_epi16::<12>(words), table),
                    ];
                    let absmax = _mm512_castps128_ps512(_mm_loadu_ps(scales.add(step * per_step)));
                    let absmax = _mm512_permutexvar_ps(places, absmax);
                    for m in 0..M {
                        let sum = products(weights, x[m].add(step * STEP / 2));
                        let scale = _mm512_mul_ps(absmax, _mm512_set1_ps(*x[m].add(depth / 2 + step).cast::<f32>()));
                        sums_of_row[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), scale, sums_of_row[m]);
                    }
                }
            }
            for (m, sum) in sums_of_row.into_iter().enumerate() {
                // SAFETY: a sum of the span.
                unsafe { ends.push(sum, sums.add(row * rows + m)) };
            }
        }
    }
    // SAFETY: by the caller.
    unsafe { ends.finish() };
}

/// Sums of the products of 128 weights with x, those of eight successive ones in a lane. The compiler would make a
/// multiplication and an addition of each `vpdpwssd`.
///
/// # Safety
/// AVX-512 with VNNI must be present and a step of x be readable.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn products(weights: [__m512i; 4], x: *const u32) -> __m512i {
    // SAFETY: 64 words of x.
    unsafe {
        let mut sum = _mm512_madd_epi16(weights[0], _mm512_loadu_si512(x.cast()));
        asm!(
            "vpdpwssd {sum}, {second}, zmmword ptr [{x} + 64]",
            "vpdpwssd {sum}, {third}, zmmword ptr [{x} + 128]",
            "vpdpwssd {sum}, {fourth}, zmmword ptr [{x} + 192]",
            sum = inout(zmm_reg) sum,
            second = in(zmm_reg) weights[1],
            third = in(zmm_reg) weights[2],
            fourth = in(zmm_reg) weights[3],
            x = in(reg) x,
            options(pure, readonly, nostack, preserves_flags),
        );
        sum
    }
}

/// Sums of rows whose lanes are still to be added: those of four together take a third of the instructions.
struct Ends {
    sums: [__m512; 4],
    to: [*mut f32; 4],
    count: usize,
}

impl Ends {
    /// Takes a sum to be written to `to` later.
    ///
    /// # Safety
    /// AVX-512 must be present and `to` be writable until [`Self::finish`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn push(&mut self, sum: __m512, to: *mut f32) {
        (self.sums[self.count], self.to[self.count]) = (sum, to);
        self.count += 1;
        if self.count == 4 {
            // SAFETY: by the caller.
            unsafe { self.finish() };
        }
    }

    /// Writes what is waiting.
    ///
    /// # Safety
    /// As for [`Self::push`].
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn finish(&mut self) {
        let [a, b, c, d] = self.sums;
        let ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        let (ab, cd) = (_mm512_castps_pd(ab), _mm512_castps_pd(cd));
        let front = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
        let all = _mm512_add_ps(front, _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd)));
        let half = _mm256_add_ps(
            _mm512_castps512_ps256(all),
            _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(all))),
        );
        let quarter = _mm_add_ps(_mm256_castps256_ps128(half), _mm256_extractf128_ps::<1>(half));
        let mut found = [0.0; 4];
        // SAFETY: four values; targets by the caller.
        unsafe {
            _mm_storeu_ps(found.as_mut_ptr(), quarter);
            for (to, found) in self.to.iter().zip(found).take(self.count) {
                **to = found;
            }
        }
        self.count = 0;
    }
}
