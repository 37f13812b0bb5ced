//! Transposes words from row-major source rows ("lanes") into panel order.

use crate::cpu::isa::Isa;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Where [`transpose`] reads and writes.
#[derive(Clone, Copy)]
pub struct Transpose {
    /// First word of lane 0; need not be aligned.
    pub source: *const u8,
    /// Bytes from one lane to the next.
    pub stride_bytes: usize,
    /// Lanes present in the source.
    pub lanes: usize,
    /// Words per lane.
    pub words: usize,
    /// First word of the panel.
    pub target: *mut u32,
    /// Words per panel step.
    pub width: usize,
    /// Lanes written, at most `width`; those beyond `lanes` become zero.
    pub written: usize,
}

/// `target[word * width + lane] = source[lane][word]`.
///
/// # Safety
/// The extents named in `job` must be readable and writable, and `isa` present.
pub unsafe fn transpose(isa: Isa, job: Transpose) {
    // SAFETY: extents by the caller; the instruction set was detected for this `isa`.
    unsafe {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::AmxBf16 => transpose_avx512(job),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => transpose_avx2(job),
            _ => transpose_plain(job, 0),
        }
    }
}

/// Plain loop over the words from `first_word` on.
///
/// # Safety
/// As [`transpose`].
unsafe fn transpose_plain(job: Transpose, first_word: usize) {
    for lane in 0..job.written {
        for word in first_word..job.words {
            // SAFETY: `lane < lanes` is checked before the read; the write is inside words * width.
            unsafe {
                let value = if lane < job.lanes {
                    job.source.add(lane * job.stride_bytes).cast::<u32>().add(word).read_unaligned()
                } else {
                    0
                };
                *job.target.add(word * job.width + lane) = value;
            }
        }
    }
}

/// # Safety
/// As [`transpose`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
unsafe fn transpose_avx512(job: Transpose) {
    for group in (0..job.written).step_by(16) {
        let present = job.lanes.saturating_sub(group).min(16);
        let stored: u16 = low_bits(job.written - group);
        for word in (0..job.words).step_by(16) {
            let loaded: u16 = low_bits(job.words - word);
            let mut r = [_mm512_setzero_ps(); 16];
            // SAFETY: lane `group + i < lanes`, and the mask stops at the last word; stores stop at the
            // last written lane and the last word.
            unsafe {
                let base = job.source.add(4 * word);
                for i in 0..16 {
                    if i < present {
                        r[i] = _mm512_maskz_loadu_ps(loaded, base.add((group + i) * job.stride_bytes).cast());
                    }
                }
                for (i, value) in turn(r).iter().enumerate() {
                    if word + i < job.words {
                        let target = job.target.add((word + i) * job.width + group).cast::<f32>();
                        _mm512_mask_storeu_ps(target, stored, *value);
                    }
                }
            }
        }
    }
}

/// Sixteen vectors of words with their rows as columns.
///
/// # Safety
/// AVX-512F exists.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f")]
pub fn turn(mut r: [__m512; 16]) -> [__m512; 16] {
    let mut t = [_mm512_setzero_ps(); 16];
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    let mut pairs = [_mm512_setzero_pd(); 16];
    for i in 0..16 {
        pairs[i] = _mm512_castps_pd(t[i]);
    }
    for i in 0..4 {
        // r[4i + j] holds word 4l + j of rows 4i..4i+4 in its 128-bit part l.
        r[4 * i] = _mm512_castpd_ps(_mm512_unpacklo_pd(pairs[4 * i], pairs[4 * i + 2]));
        r[4 * i + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(pairs[4 * i], pairs[4 * i + 2]));
        r[4 * i + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(pairs[4 * i + 1], pairs[4 * i + 3]));
        r[4 * i + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(pairs[4 * i + 1], pairs[4 * i + 3]));
    }
    for j in 0..4 {
        let a = _mm512_shuffle_f32x4::<0x88>(r[j], r[4 + j]);
        let b = _mm512_shuffle_f32x4::<0x88>(r[8 + j], r[12 + j]);
        let c = _mm512_shuffle_f32x4::<0xdd>(r[j], r[4 + j]);
        let d = _mm512_shuffle_f32x4::<0xdd>(r[8 + j], r[12 + j]);
        t[j] = _mm512_shuffle_f32x4::<0x88>(a, b);
        t[4 + j] = _mm512_shuffle_f32x4::<0x88>(c, d);
        t[8 + j] = _mm512_shuffle_f32x4::<0xdd>(a, b);
        t[12 + j] = _mm512_shuffle_f32x4::<0xdd>(c, d);
    }
    t
}

/// A mask of the lowest `count` of 16 bits.
fn low_bits(count: usize) -> u16 {
    if count >= 16 { u16::MAX } else { (1 << count) - 1 }
}

/// Eight vectors with their rows as columns.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn turn_8x8(mut r: [__m256; 8]) -> [__m256; 8] {
    let mut t = [_mm256_setzero_ps(); 8];
    for i in 0..4 {
        t[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for i in 0..2 {
        r[4 * i] = _mm256_shuffle_ps::<0x44>(t[4 * i], t[4 * i + 2]);
        r[4 * i + 1] = _mm256_shuffle_ps::<0xee>(t[4 * i], t[4 * i + 2]);
        r[4 * i + 2] = _mm256_shuffle_ps::<0x44>(t[4 * i + 1], t[4 * i + 3]);
        r[4 * i + 3] = _mm256_shuffle_ps::<0xee>(t[4 * i + 1], t[4 * i + 3]);
    }
    for j in 0..4 {
        t[j] = _mm256_permute2f128_ps::<0x20>(r[j], r[4 + j]);
        t[4 + j] = _mm256_permute2f128_ps::<0x31>(r[j], r[4 + j]);
    }
    t
}

/// # Safety
/// As [`transpose`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn transpose_avx2(job: Transpose) {
    let whole = job.words / 8 * 8;
    let is_narrow = job.written == job.width && job.width < 8;
    for group in (0..job.written).step_by(8) {
        let present = job.lanes.saturating_sub(group).min(8);
        let stored = (job.written - group).min(8);
        let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(stored as i32), lanes);
        for word in (0..whole).step_by(8) {
            let mut r = [_mm256_setzero_ps(); 8];
            // SAFETY: lane `group + i < lanes` and 8 words from `word` exist; stores stop at the last written lane,
            // or, where a panel is narrower than a vector, at lanes of later words, inside the panel.
            unsafe {
                let base = job.source.add(4 * word);
                for i in 0..8 {
                    if i < present {
                        r[i] = _mm256_loadu_ps(base.add((group + i) * job.stride_bytes).cast());
                    }
                }
                for (i, value) in turn_8x8(r).iter().enumerate() {
                    let target = job.target.add((word + i) * job.width + group).cast::<f32>();
                    // What a narrow panel's full store writes too much is the next step, which follows; masked
                    // stores take a dozen cycles on many processors.
                    let spilled = 8 - stored;
                    let covered = is_narrow && spilled <= (job.words - 1 - word - i) * job.width;
                    if spilled == 0 || covered {
                        _mm256_storeu_ps(target, *value);
                    } else {
                        _mm256_maskstore_ps(target, mask, *value);
                    }
                }
            }
        }
    }
    // SAFETY: the remaining words of all lanes, same extents.
    unsafe { transpose_plain(job, whole) };
}
