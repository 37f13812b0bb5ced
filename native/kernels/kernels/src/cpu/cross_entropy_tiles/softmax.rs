//! Blocks of logits with the vocabulary down and rows of the batch across become numerators of the softmax, in the
//! layout of a left operand of tiles.

use crate::cpu::amx::TILE;
use crate::cpu::cross_entropy_rows::LogitTransform;
use crate::cpu::simd::{Avx512, Simd};
use std::arch::x86_64::*;

/// Vocabulary entries of a block.
pub const ENTRIES: usize = 2 * TILE;
/// A logit may lie so many powers of two above its row's reference before that is raised: sums of numerators, and their
/// products with weights, stay far below the largest f32.
const HEADROOM: f32 = 24.0;
/// The reference of a row that has seen nothing.
pub const UNSEEN: f32 = -1e30;

/// Logits of 32 vocabulary entries and 16 rows, and the statistics of these rows.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    /// Raw logits: entry v of row j at `v·stride + j`.
    pub logits: *const f32,
    /// Floats between entries.
    pub stride: usize,
    /// Rows to which each entry counts, a bit each; all where there is nothing.
    pub present: Option<&'a [u16; ENTRIES]>,
    /// An integer n of each row; numerators are exp(l)·2⁻ⁿ.
    pub reference: *mut f32,
    /// Largest logit of each row.
    pub largest: *mut f32,
    /// Sum of numerators of each row.
    pub sum: *mut f64,
    /// Where numerators times the slope of the soft cap go: 16 rows of 32 bf16. None where they are not wanted.
    pub numerators: Option<*mut u32>,
}

/// Rows whose reference is too low, a bit each, and the largest logit of every row in this block.
pub struct Low {
    pub rows: u16,
    pub largest: [f32; TILE],
}

/// What is known of a block before it counts.
pub struct Partial {
    /// Numerators of two entries each, eight apart.
    pairs: [__m512i; TILE],
    largest: __m512,
    sums: [__m512; 2],
}

impl Partial {
    /// Nothing.
    ///
    /// # Safety
    /// AVX-512 exists.
    #[target_feature(enable = "avx512f")]
    pub unsafe fn new() -> Self {
        let largest = _mm512_set1_ps(f32::NEG_INFINITY);
        Self { pairs: [_mm512_setzero_si512(); TILE], largest, sums: [_mm512_setzero_ps(); 2] }
    }
}

/// Makes the numerators of one `half` of the entries, 0 before 1.
///
/// # Safety
/// The pointers cover their extents; AVX-512 with BF16 exists.
pub unsafe fn exponentiate(block: &Block<'_>, transform: LogitTransform, half: usize, partial: &mut Partial) {
    // SAFETY: by the caller.
    unsafe {
        match (transform.soft_cap > 0.0, block.present.is_none()) {
            (false, true) => exponentiate_half::<false, true>(block, transform, half, partial),
            (false, false) => exponentiate_half::<false, false>(block, transform, half, partial),
            (true, true) => exponentiate_half::<true, true>(block, transform, half, partial),
            (true, false) => exponentiate_half::<true, false>(block, transform, half, partial),
        }
    }
}

/// # Safety
/// As [`exponentiate`]; `CAPPED` and `WHOLE` say what transform and block are.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn exponentiate_half<const CAPPED: bool, const WHOLE: bool>(
    block: &Block<'_>,
    transform: LogitTransform,
    half: usize,
    partial: &mut Partial,
) {
    let mut running = match half {
        0 => Running { largest: _mm512_set1_ps(f32::NEG_INFINITY), sums: [_mm512_setzero_ps(); 2] },
        _ => Running { largest: partial.largest, sums: partial.sums },
    };
    // SAFETY: 32 entries and 16 values of each statistic are covered by the caller.
    unsafe {
        let reference = _mm512_loadu_ps(block.reference);
        for (index, pair) in partial.pairs[8 * half..8 * half + 8].iter_mut().enumerate() {
            // Entries eight apart: after the turn below, entries lie in order.
            let entry = half * TILE + index;
            let low = numerator::<CAPPED, WHOLE>(block, transform, entry, reference, &mut running);
            let high = numerator::<CAPPED, WHOLE>(block, transform, entry + 8, reference, &mut running);
            *pair = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
        }
    }
    (partial.largest, partial.sums) = (running.largest, running.sums);
}

/// Takes a block into the statistics and writes its numerators; or, where a reference is too low, says so and changes
/// nothing.
///
/// # Safety
/// As [`exponentiate`], of both halves.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
pub unsafe fn finish(block: &Block<'_>, partial: &Partial) -> Option<Low> {
    let Partial { pairs, largest, sums } = partial;
    // SAFETY: 16 values of each statistic, and the numerators, are covered by the caller.
    unsafe {
        let reference = _mm512_loadu_ps(block.reference);
        // Rounded as by whoever raises the reference, so that one raise is enough for logits of any size.
        let above = _mm512_sub_ps(_mm512_mul_ps(*largest, _mm512_set1_ps(std::f32::consts::LOG2_E)), reference);
        let rows = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(above, _mm512_set1_ps(HEADROOM));
        if rows != 0 {
            let mut values = [0.0; TILE];
            _mm512_storeu_ps(values.as_mut_ptr(), *largest);
            return Some(Low { rows, largest: values });
        }
        _mm512_storeu_ps(block.largest, _mm512_max_ps(_mm512_loadu_ps(block.largest), *largest));
        let sum = _mm512_add_ps(sums[0], sums[1]);
        for (half, part) in [_mm512_castps512_ps256(sum), _mm512_extractf32x8_ps::<1>(sum)].into_iter().enumerate() {
            let at = block.sum.add(8 * half);
            _mm512_storeu_pd(at, _mm512_add_pd(_mm512_loadu_pd(at), _mm512_cvtps_pd(part)));
        }
        if let Some(target) = block.numerators {
            turn(pairs, target);
        }
    }
    None
}

/// What an entry adds to the sums of 16 rows.
struct Running {
    largest: __m512,
    sums: [__m512; 2],
}

/// exp(l)·2⁻ⁿ of an entry for 16 rows, times the slope of a soft cap; kept in `running`.
///
/// # Safety
/// As [`exponentiate_half`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn numerator<const CAPPED: bool, const WHOLE: bool>(
    block: &Block<'_>,
    transform: LogitTransform,
    entry: usize,
    reference: __m512,
    running: &mut Running,
) -> __m512 {
    // Rows that count.
    let present = block.present.map_or(u16::MAX, |present| if WHOLE { u16::MAX } else { present[entry] });
    // SAFETY: by the caller.
    let z = unsafe { _mm512_loadu_ps(block.logits.add(entry * block.stride)) };
    let l = if CAPPED {
        // SAFETY: this function's own features are those of the token.
        transform.logit(unsafe { Avx512::new() }, z)
    } else {
        _mm512_mul_ps(z, _mm512_set1_ps(transform.scale / transform.temperature))
    };
    // The product is rounded before the reference is taken away: however large a logit, that of the reference gives about 1.
    let e = exp2(_mm512_sub_ps(_mm512_mul_ps(l, _mm512_set1_ps(std::f32::consts::LOG2_E)), reference));
    let e = if WHOLE { e } else { _mm512_maskz_mov_ps(present, e) };
    running.largest = match WHOLE {
        true => _mm512_max_ps(running.largest, l),
        false => _mm512_mask_max_ps(running.largest, present, running.largest, l),
    };
    let sum = &mut running.sums[entry / 8 % 2];
    *sum = _mm512_add_ps(*sum, e);
    if !CAPPED {
        return e;
    }
    let ratio = _mm512_mul_ps(l, _mm512_set1_ps(transform.temperature / transform.soft_cap));
    _mm512_mul_ps(e, _mm512_fnmadd_ps(ratio, ratio, _mm512_set1_ps(1.0)))
}

/// 2ˣ, relative error ≤ 2 ulp; 0 below −160, NaN kept.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp2(x: __m512) -> __m512 {
    let x = _mm512_max_ps(_mm512_set1_ps(-160.0), x);
    let n = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
    let r = _mm512_sub_ps(x, n);
    let mut q = _mm512_set1_ps(EXP2[EXP2.len() - 1]);
    for coefficient in EXP2[..EXP2.len() - 1].iter().rev() {
        q = _mm512_fmadd_ps(q, r, _mm512_set1_ps(*coefficient));
    }
    _mm512_scalef_ps(_mm512_fmadd_ps(r, q, _mm512_set1_ps(1.0)), n)
}

/// The polynomial of [`crate::cpu::simd::math::exp2_nonpositive`].
#[allow(clippy::excessive_precision)]
const EXP2: [f32; 6] =
    [0.693_147_188, 0.240_226_508, 0.055_503_549_3, 0.009_618_080_67, 0.001_339_201_74, 1.545_416_21e-4];

/// `pairs[j]` holds 16 rows of entry e and then of entry e + 8, where e = j below 8 and j + 8 above; row r of the target
/// becomes the 32 entries of row r.
///
/// # Safety
/// The target holds 16 rows of 16 words.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn turn(pairs: &[__m512i; TILE], target: *mut u32) {
    let mut out = [[_mm512_setzero_si512(); 8]; 2];
    for (half, out) in out.iter_mut().enumerate() {
        let x = &pairs[8 * half..8 * half + 8];
        let mut a = [_mm512_setzero_si512(); 8];
        let mut b = [_mm512_setzero_si512(); 8];
        for i in 0..4 {
            // Rows 0 to 3, and 4 to 7, of two pairs.
            a[i] = _mm512_unpacklo_epi16(x[2 * i], x[2 * i + 1]);
            a[4 + i] = _mm512_unpackhi_epi16(x[2 * i], x[2 * i + 1]);
        }
        for i in 0..2 {
            // b[4·i + k]: rows 2k and 2k + 1 of pairs 4i to 4i + 3.
            b[4 * i] = _mm512_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
            b[4 * i + 1] = _mm512_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
            b[4 * i + 2] = _mm512_unpacklo_epi32(a[4 + 2 * i], a[4 + 2 * i + 1]);
            b[4 * i + 3] = _mm512_unpackhi_epi32(a[4 + 2 * i], a[4 + 2 * i + 1]);
        }
        for k in 0..4 {
            out[2 * k] = _mm512_unpacklo_epi64(b[k], b[4 + k]);
            out[2 * k + 1] = _mm512_unpackhi_epi64(b[k], b[4 + k]);
        }
    }
    let [first, second] = out;
    for row in 0..8 {
        // Quarters: entries 0 to 7 of rows `row` and `row + 8`, then entries 8 to 15 of both.
        let low = _mm512_shuffle_i32x4::<0x88>(first[row], second[row]);
        let high = _mm512_shuffle_i32x4::<0xdd>(first[row], second[row]);
        // SAFETY: by the caller.
        unsafe {
            _mm512_storeu_si512(target.add(row * TILE).cast(), low);
            _mm512_storeu_si512(target.add((row + 8) * TILE).cast(), high);
        }
    }
}

/// The logit of a raw one, as [`exponentiate`] computes it.
///
/// # Safety
/// AVX-512 exists.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
pub unsafe fn logit(transform: LogitTransform, raw: f32) -> f32 {
    if transform.soft_cap > 0.0 {
        // SAFETY: this function's own features are those of the token.
        let s = unsafe { Avx512::new() };
        return _mm512_cvtss_f32(transform.logit(s, s.splat(raw)));
    }
    raw * (transform.scale / transform.temperature)
}
