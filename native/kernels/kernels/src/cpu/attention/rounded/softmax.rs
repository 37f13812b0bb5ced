//! The elementwise half of bf16 attention on blocks of 32 rows by 32 keys: weights from scores, and their gradients, in
//! f32; rounded to bf16 last.

use super::pack::{BLOCK, SQUARE};
use super::rows::{interleave, round};
use super::sight::Lanes;
use crate::cpu::gemm::transpose::turn;
use std::arch::x86_64::*;

/// 2ˣ for x ≤ 0 and somewhat above, relative error ≤ 2⁻²⁰; exactly 0 from −127 down, NaN kept. The result is below
/// 2⁻¹²⁶ between −127 and −126.
///
/// 11 operations on three kinds of ports: the integer part is rounded by adding 1.5·2²³, whose low bits then are the
/// exponent. The polynomial 1 + r·q(r) is exact at 0, so that −127 gives the bits of 0.
#[inline]
#[target_feature(enable = "avx512f")]
pub fn exp2_fast(x: __m512) -> __m512 {
    let magic = _mm512_set1_ps(12_582_912.0);
    // The second operand is returned when one is NaN.
    let x = _mm512_max_ps(_mm512_set1_ps(-127.0), x);
    let shifted = _mm512_add_ps(x, magic);
    let r = _mm512_sub_ps(x, _mm512_sub_ps(shifted, magic));
    // Fitted by us (Remez, relative error of 1 + r·q on −½ … ½: 4.3e-7).
    let q = _mm512_set1_ps(0.001_112_551);
    let q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(0.009_666_283));
    let q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(0.055_574_004));
    let q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(0.240_223_51));
    let q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(0.693_142_83));
    let y = _mm512_fmadd_ps(q, r, _mm512_set1_ps(1.0));
    let exponent = _mm512_slli_epi32::<23>(_mm512_castps_si512(shifted));
    _mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(y), exponent))
}

/// The scores of one row of a block.
///
/// # Safety
/// The block is readable.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn row_of(block: *const f32, row: usize) -> [__m512; 2] {
    // SAFETY: by the caller.
    unsafe { [_mm512_loadu_ps(block.add(BLOCK * row)), _mm512_loadu_ps(block.add(BLOCK * row + 16))] }
}

/// Whether a score of a block exceeds its row's limit; hides those that `lanes` leaves out first.
///
/// # Safety
/// AVX-512 F exists.
#[target_feature(enable = "avx512f")]
pub unsafe fn exceeds(scores: &mut [f32], lanes: Option<&Lanes>, limits: &[f32]) -> bool {
    assert!(scores.len() >= SQUARE && limits.len() >= BLOCK);
    let hidden = _mm512_set1_ps(f32::NEG_INFINITY);
    let mut above = 0;
    for row in 0..BLOCK {
        // SAFETY: rows of the block, as asserted.
        unsafe {
            let [mut low, mut high] = row_of(scores.as_ptr(), row);
            if let Some(lanes) = lanes {
                let shown = lanes[row];
                low = _mm512_mask_mov_ps(hidden, shown as u16, low);
                high = _mm512_mask_mov_ps(hidden, (shown >> 16) as u16, high);
                _mm512_storeu_ps(scores.as_mut_ptr().add(BLOCK * row), low);
                _mm512_storeu_ps(scores.as_mut_ptr().add(BLOCK * row + 16), high);
            }
            let limit = _mm512_set1_ps(*limits.as_ptr().add(row));
            above |= _mm512_cmp_ps_mask::<_CMP_GT_OQ>(_mm512_max_ps(low, high), limit);
        }
    }
    above != 0
}

/// By how much a weight may exceed 1, in base 2.
const ROOM: f32 = 16.0;

/// Running state of the online softmax.
pub struct Running<'a> {
    /// Σ 2^(score·unit − shift), 16 lanes a row.
    pub total: &'a mut [f32],
    /// What weights are relative to, one element per row: a score, near the largest one so far.
    pub highest: &'a mut [f32],
    /// The same in base 2.
    pub shift: &'a mut [f32],
    /// The score that asks for a higher one.
    pub limit: &'a mut [f32],
}

impl Running<'_> {
    /// Takes in the maxima of a block of scores. `unit` > 0 turns scores into base 2. What was summed in `output` (panels of
    /// 32 columns) before is rescaled.
    ///
    /// # Safety
    /// AVX-512 F exists.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn raise(&mut self, row_block: usize, scores: &[f32], unit: f32, mut output: Option<&mut [f32]>) {
        let rows = self.highest.len();
        assert!(scores.len() >= SQUARE && (row_block + 1) * BLOCK <= rows && self.total.len() >= 16 * rows);
        assert!(self.shift.len() >= rows && self.limit.len() >= rows);
        let unit = _mm512_set1_ps(unit);
        for first in (0..BLOCK).step_by(16) {
            let mut alphas = [0.0f32; 16];
            let at = row_block * BLOCK + first;
            // SAFETY: all of them hold whole vectors, as asserted.
            unsafe {
                let mut r = [_mm512_setzero_ps(); 16];
                for i in 0..16 {
                    let [low, high] = row_of(scores.as_ptr(), first + i);
                    r[i] = _mm512_max_ps(low, high);
                }
                let t = turn(r);
                let before = _mm512_loadu_ps(self.highest.as_ptr().add(at));
                let mut high = before;
                for i in 0..16 {
                    high = _mm512_max_ps(high, t[i]);
                }
                let room = _mm512_div_ps(_mm512_set1_ps(ROOM), unit);
                _mm512_storeu_ps(self.highest.as_mut_ptr().add(at), high);
                _mm512_storeu_ps(self.shift.as_mut_ptr().add(at), _mm512_mul_ps(high, unit));
                _mm512_storeu_ps(self.limit.as_mut_ptr().add(at), _mm512_add_ps(high, room));
                let alpha = exp2_fast(_mm512_mul_ps(_mm512_sub_ps(before, high), unit));
                _mm512_storeu_ps(alphas.as_mut_ptr(), alpha);
            }
            for (row, alpha) in alphas.into_iter().enumerate().filter(|(_, alpha)| *alpha != 1.0) {
                self.total[16 * (at + row)..][..16].iter_mut().for_each(|sum| *sum *= alpha);
                for panel in output.iter_mut().flat_map(|output| output.chunks_exact_mut(rows * BLOCK)) {
                    panel[(at + row) * BLOCK..][..BLOCK].iter_mut().for_each(|sum| *sum *= alpha);
                }
            }
        }
    }
}

/// The sums of 16 rows of 16 lanes.
///
/// # Safety
/// AVX-512 F exists and the lanes are readable.
#[inline]
#[target_feature(enable = "avx512f")]
pub unsafe fn add_across(lanes: *const f32) -> __m512 {
    let mut r = [_mm512_setzero_ps(); 16];
    for i in 0..16 {
        // SAFETY: by the caller.
        r[i] = unsafe { _mm512_loadu_ps(lanes.add(16 * i)) };
    }
    let t = turn(r);
    let mut sum = _mm512_setzero_ps();
    for i in 0..16 {
        sum = _mm512_add_ps(sum, t[i]);
    }
    sum
}

/// Scores of a block become weights 2^(score·unit − shift), rounded, a row of 16 words after the other; adds them to
/// the rows' sums.
///
/// # Safety
/// AVX-512 F, BW and BF16 exist, and 512 words of weights are writable.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn weigh(scores: &[f32], row_block: usize, unit: f32, running: &mut Running<'_>, weights: *mut u32) {
    let end = (row_block + 1) * BLOCK;
    assert!(scores.len() >= SQUARE && running.shift.len() >= end && running.total.len() >= 16 * end);
    let unit = _mm512_set1_ps(unit);
    let (shifts, sums) = (running.shift.as_ptr(), running.total.as_mut_ptr());
    for row in 0..BLOCK {
        // SAFETY: rows of the block, as asserted; weights by the caller.
        unsafe {
            let shift = _mm512_set1_ps(*shifts.add(row_block * BLOCK + row));
            let [low, high] = row_of(scores.as_ptr(), row);
            let low = exp2_fast(_mm512_fmsub_ps(low, unit, shift));
            let high = exp2_fast(_mm512_fmsub_ps(high, unit, shift));
            let at = sums.add(16 * (row_block * BLOCK + row));
            _mm512_storeu_ps(at, _mm512_add_ps(_mm512_loadu_ps(at), _mm512_add_ps(low, high)));
            _mm512_storeu_si512(weights.add(16 * row).cast(), round(low, high));
        }
    }
}

/// What [`differentiate`] reads.
pub struct Slope<'a> {
    /// Scores, as `unit` takes them to base 2.
    pub scores: *const f32,
    /// Gradients of the weights.
    pub gradients: *const f32,
    /// Base-2 logarithms of the softmax denominators of 32 rows.
    pub lse: *const f32,
    /// Σ do·o of 32 rows.
    pub delta: *const f32,
    /// What turns scores into base 2.
    pub unit: f32,
    /// The cap in units of the scores; 0 for none.
    pub softcap: f32,
    /// What is shown; all where there is nothing.
    pub lanes: Option<&'a Lanes>,
}

/// Where [`differentiate`] writes.
pub struct Gradients {
    /// P, pairs of rows: 16 rows of 32 words.
    pub weights: *mut u32,
    /// dS, pairs of rows.
    pub slopes: *mut u32,
    /// dS, pairs of keys: 32 rows of 16 words.
    pub rows: *mut u32,
}

/// P = 2^(score·unit − lse) and dS = P ∘ (dP − delta) of a block, rounded.
///
/// # Safety
/// AVX-512 F, BW, DQ and BF16 exist, and the memory described above is readable or writable.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
pub unsafe fn differentiate(slope: &Slope<'_>, target: &Gradients) {
    // SAFETY: by the caller.
    unsafe {
        match (slope.lanes, slope.softcap > 0.0) {
            (None, false) => block_slopes::<false, false>(slope, &[0; BLOCK], target),
            (None, true) => block_slopes::<false, true>(slope, &[0; BLOCK], target),
            (Some(lanes), false) => block_slopes::<true, false>(slope, lanes, target),
            (Some(lanes), true) => block_slopes::<true, true>(slope, lanes, target),
        }
    }
}

/// # Safety
/// As [`differentiate`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
unsafe fn block_slopes<const MASKED: bool, const CAPPED: bool>(slope: &Slope<'_>, lanes: &Lanes, target: &Gradients) {
    let order = interleave();
    let unit = _mm512_set1_ps(slope.unit);
    let inverse = _mm512_set1_ps(if CAPPED { 1.0 / slope.softcap } else { 0.0 });
    for pair in 0..BLOCK / 2 {
        let (mut weights, mut slopes) = ([[_mm512_setzero_ps(); 2]; 2], [[_mm512_setzero_ps(); 2]; 2]);
        // SAFETY: by the caller.
        unsafe {
            for i in 0..2 {
                let row = 2 * pair + i;
                let lse = _mm512_set1_ps(*slope.lse.add(row));
                let delta = _mm512_set1_ps(*slope.delta.add(row));
                let (scores, gradients) = (row_of(slope.scores, row), row_of(slope.gradients, row));
                for half in 0..2 {
                    let shown = (lanes[row] >> (16 * half)) as u16;
                    let mut weight = exp2_fast(_mm512_fmsub_ps(scores[half], unit, lse));
                    if MASKED {
                        weight = _mm512_maskz_mov_ps(shown, weight);
                    }
                    let mut value = _mm512_mul_ps(weight, _mm512_sub_ps(gradients[half], delta));
                    if CAPPED {
                        // d tanh: 1 − (score/cap)².
                        let t = _mm512_mul_ps(scores[half], inverse);
                        value = _mm512_mul_ps(value, _mm512_fnmadd_ps(t, t, _mm512_set1_ps(1.0)));
                    }
                    if MASKED {
                        // What is hidden may be anything, and zero times that need not be zero.
                        value = _mm512_maskz_mov_ps(shown, value);
                    }
                    weights[i][half] = weight;
                    slopes[i][half] = value;
                }
                _mm512_storeu_si512(target.rows.add(16 * row).cast(), round(slopes[i][0], slopes[i][1]));
            }
            for half in 0..2 {
                let at = BLOCK * pair + 16 * half;
                let weights = _mm512_permutexvar_epi16(order, round(weights[0][half], weights[1][half]));
                _mm512_storeu_si512(target.weights.add(at).cast(), weights);
                let slopes = _mm512_permutexvar_epi16(order, round(slopes[0][half], slopes[1][half]));
                _mm512_storeu_si512(target.slopes.add(at).cast(), slopes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::isa::Isa;

    fn apply(x: &[f32; 16]) -> [f32; 16] {
        let mut y = [0.0; 16];
        // SAFETY: the caller checked the instruction set; both arrays hold 16 floats.
        unsafe { run(x, &mut y) };
        y
    }

    #[target_feature(enable = "avx512f")]
    unsafe fn run(x: &[f32; 16], y: &mut [f32; 16]) {
        // SAFETY: 16 floats each.
        unsafe { _mm512_storeu_ps(y.as_mut_ptr(), exp2_fast(_mm512_loadu_ps(x.as_ptr()))) };
    }

    #[test]
    fn powers_of_two_are_within_the_stated_bound() {
        if !Isa::detect().has_native_bf16() {
            eprintln!("skipped: this machine lacks avx512bf16");
            return;
        }
        for index in 0..100_000 {
            let x: [f32; 16] = std::array::from_fn(|lane| 0.5 - (index * 16 + lane) as f32 * (126.5 / 1.6e6));
            for (x, y) in x.iter().zip(apply(&x)) {
                let expected = f64::from(*x).exp2();
                assert!((f64::from(y) - expected).abs() <= expected * 2f64.powi(-20), "2^{x} = {y}");
            }
        }
        let mut specials = [0.0; 16];
        specials[..6].copy_from_slice(&[f32::NAN, f32::NEG_INFINITY, -127.0, -1e30, -126.7, 0.0]);
        let y = apply(&specials);
        assert!(y[0].is_nan() && y[1..4] == [0.0; 3] && y[4] >= 0.0 && y[4] < 1.2e-38 && y[5] == 1.0, "{y:?}");
    }
}
