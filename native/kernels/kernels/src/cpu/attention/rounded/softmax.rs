//! The elementwise half of bf16 attention: weights from scores, and their gradients, in f32; rounded to bf16 last.

use super::pack::{interleave, pair_lanes};
use std::arch::x86_64::*;
use std::f32::consts::LOG2_E;

/// 2ˣ for x ≤ 0 and a little above, relative error ≤ 2⁻²⁰; exactly 0 from −127 down, NaN kept. The result is below
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

/// Running state of the online softmax, one lane per query row.
pub struct Running<'a> {
    /// Largest score so far, base 2.
    pub highest: &'a mut [f32],
    /// Σ 2^(score − highest).
    pub total: &'a mut [f32],
    /// Factor of what was summed before the last step.
    pub alpha: &'a mut [f32],
}

/// One step of the online softmax: scores [keys, padded] become weights, rounded and paired along the keys:
/// weights[p·padded + row] = (key 2p, key 2p + 1).
///
/// # Safety
/// AVX-512 F, BW and BF16 exist.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn online_softmax(scores: &[f32], weights: &mut [u32], running: &mut Running<'_>) {
    let padded = running.total.len();
    let keys = scores.len() / padded;
    assert!(padded.is_multiple_of(16) && weights.len() >= keys.div_ceil(2) * padded);
    assert!(running.highest.len() >= padded && running.alpha.len() >= padded);
    let order = interleave();
    for column in (0..padded).step_by(16) {
        // SAFETY: all arrays hold `padded` columns, a multiple of 16; scores has `keys` rows of them and weights
        // half as many, as asserted.
        unsafe {
            let scores = scores.as_ptr().add(column);
            let mut highs = [_mm512_set1_ps(f32::NEG_INFINITY); 4];
            let mut key = 0;
            while key + 4 <= keys {
                for i in 0..4 {
                    highs[i] = _mm512_max_ps(highs[i], _mm512_loadu_ps(scores.add((key + i) * padded)));
                }
                key += 4;
            }
            while key < keys {
                highs[0] = _mm512_max_ps(highs[0], _mm512_loadu_ps(scores.add(key * padded)));
                key += 1;
            }
            let before = _mm512_loadu_ps(running.highest.as_ptr().add(column));
            let high = _mm512_max_ps(_mm512_max_ps(highs[0], highs[1]), _mm512_max_ps(highs[2], highs[3]));
            let high = _mm512_max_ps(before, high);
            let alpha = exp2_fast(_mm512_sub_ps(before, high));
            let (mut even, mut odd) = (_mm512_setzero_ps(), _mm512_setzero_ps());
            let mut at = weights.as_mut_ptr().add(column);
            for pair in 0..keys / 2 {
                let first = scores.add(2 * pair * padded);
                let low = exp2_fast(_mm512_sub_ps(_mm512_loadu_ps(first), high));
                let next = exp2_fast(_mm512_sub_ps(_mm512_loadu_ps(first.add(padded)), high));
                even = _mm512_add_ps(even, low);
                odd = _mm512_add_ps(odd, next);
                _mm512_storeu_si512(at.cast(), pair_lanes(low, next, order));
                at = at.wrapping_add(padded);
            }
            if keys % 2 == 1 {
                let low = exp2_fast(_mm512_sub_ps(_mm512_loadu_ps(scores.add((keys - 1) * padded)), high));
                even = _mm512_add_ps(even, low);
                _mm512_storeu_si512(at.cast(), pair_lanes(low, _mm512_setzero_ps(), order));
            }
            let total = running.total.as_mut_ptr().add(column);
            _mm512_storeu_ps(total, _mm512_fmadd_ps(_mm512_loadu_ps(total), alpha, _mm512_add_ps(even, odd)));
            _mm512_storeu_ps(running.highest.as_mut_ptr().add(column), high);
            _mm512_storeu_ps(running.alpha.as_mut_ptr().add(column), alpha);
        }
    }
}

/// What [`differentiate`] reads: one lane per query row.
pub struct Saved<'a> {
    /// Base-2 logarithm of the softmax denominators.
    pub lse: &'a [f32],
    /// Σ do·o.
    pub delta: &'a [f32],
    /// The cap in units of the scores; 0 for none, and then scores are in base 2.
    pub softcap: f32,
}

/// Where [`differentiate`] writes.
pub struct Gradients<'a> {
    /// P [keys, padded], pairs along the query rows.
    pub weights: &'a mut [u32],
    /// dS likewise.
    pub rows: &'a mut [u32],
    /// dS, pairs along the keys: [p·padded + row].
    pub pairs: &'a mut [u32],
}

/// P = 2^(score − lse) and dS = P ∘ (dP − delta), both [keys, padded], rounded.
///
/// # Safety
/// AVX-512 F, BW and BF16 exist.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512bf16")]
pub unsafe fn differentiate(scores: &[f32], slopes: &[f32], saved: &Saved<'_>, target: &mut Gradients<'_>) {
    let padded = saved.lse.len();
    let (keys, half) = (scores.len() / padded, padded / 2);
    assert!(padded.is_multiple_of(16) && saved.delta.len() == padded && slopes.len() == scores.len());
    assert!(target.weights.len() >= keys * half && target.rows.len() >= keys * half);
    assert!(target.pairs.len() >= keys.div_ceil(2) * padded);
    let order = interleave();
    let capped = saved.softcap > 0.0;
    let inverse = _mm512_set1_ps(if capped { 1.0 / saved.softcap } else { 0.0 });
    let unit = _mm512_set1_ps(if capped { LOG2_E } else { 1.0 });
    for first in (0..keys).step_by(2) {
        for column in (0..padded).step_by(16) {
            // SAFETY: extents were asserted; the second key of a pair is read and written only where it exists.
            unsafe {
                let lse = _mm512_loadu_ps(saved.lse.as_ptr().add(column));
                let delta = _mm512_loadu_ps(saved.delta.as_ptr().add(column));
                let (mut weight, mut slope) = ([_mm512_setzero_ps(); 2], [_mm512_setzero_ps(); 2]);
                for i in 0..2 {
                    if first + i >= keys {
                        break;
                    }
                    let at = (first + i) * padded + column;
                    let score = _mm512_loadu_ps(scores.as_ptr().add(at));
                    weight[i] = exp2_fast(_mm512_fmsub_ps(score, unit, lse));
                    slope[i] = _mm512_sub_ps(_mm512_loadu_ps(slopes.as_ptr().add(at)), delta);
                    slope[i] = _mm512_mul_ps(weight[i], slope[i]);
                    if capped {
                        // d tanh: 1 − (score/cap)²; hidden scores are −∞ and their weight is 0.
                        let t = _mm512_mul_ps(score, inverse);
                        let seen = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(weight[i], _mm512_setzero_ps());
                        slope[i] = _mm512_maskz_mul_ps(seen, slope[i], _mm512_fnmadd_ps(t, t, _mm512_set1_ps(1.0)));
                    }
                }
                let weights = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(weight[1], weight[0]));
                let rows = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(slope[1], slope[0]));
                let at = first * half + column / 2;
                let (weights_at, rows_at) = (target.weights.as_mut_ptr().add(at), target.rows.as_mut_ptr().add(at));
                _mm256_storeu_si256(weights_at.cast(), _mm512_castsi512_si256(weights));
                _mm256_storeu_si256(rows_at.cast(), _mm512_castsi512_si256(rows));
                if first + 1 < keys {
                    _mm256_storeu_si256(weights_at.add(half).cast(), _mm512_extracti64x4_epi64::<1>(weights));
                    _mm256_storeu_si256(rows_at.add(half).cast(), _mm512_extracti64x4_epi64::<1>(rows));
                }
                let pairs = target.pairs.as_mut_ptr().add(first / 2 * padded + column);
                _mm512_storeu_si512(pairs.cast(), _mm512_permutexvar_epi16(order, rows));
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
