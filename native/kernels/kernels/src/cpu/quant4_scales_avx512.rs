//! Double-quantized scales looked up 32 at a time.
//!
//! A scale is map[code] · nested absmax + offset. The map has 256 entries of f32; `vpermt2w` looks 16-bit words up in two
//! registers of 32, so that four of them for each half of a value and two bits of the code to choose among them give 32
//! values without a load each.

use crate::cpu::quant4::{NestedScales, SCALES_AHEAD};
use std::arch::x86_64::*;

/// Scales of one pass.
const LANES: usize = 32;

/// Looks scales up by blocks of the weight.
pub struct WideScales<'a> {
    nested: NestedScales<'a>,
    /// Lower and upper half of each value of the map.
    halves: [[u16; 256]; 2],
}

impl<'a> WideScales<'a> {
    /// Prepares the map.
    ///
    /// # Safety
    /// AVX-512 F, BW and VL must be present.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub unsafe fn new(nested: NestedScales<'a>) -> Self {
        let mut halves = [[0; 256]; 2];
        let low: [u16; 32] = std::array::from_fn(|index| 2 * index as u16);
        // SAFETY: 32 of 256 values and of the words of each half.
        unsafe {
            let low = _mm512_loadu_si512(low.as_ptr().cast());
            let high = _mm512_or_si512(low, _mm512_set1_epi16(1));
            for at in (0..256).step_by(LANES) {
                let front = _mm512_loadu_si512(nested.map.as_ptr().add(at).cast());
                let back = _mm512_loadu_si512(nested.map.as_ptr().add(at + 16).cast());
                for (half, indices) in halves.iter_mut().zip([low, high]) {
                    let words = _mm512_permutex2var_epi16(front, indices, back);
                    _mm512_storeu_si512(half.as_mut_ptr().add(at).cast(), words);
                }
            }
        }
        Self { nested, halves }
    }

    /// Scales of the blocks `first`, `first + 1` and so on. Product and sum are rounded separately, as
    /// [`crate::cpu::quant4::Quant4View::scale`] does.
    ///
    /// # Panics
    /// When there are fewer blocks.
    ///
    /// # Safety
    /// AVX-512 F, BW and VL must be present.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub unsafe fn read(&self, first: usize, target: &mut [f32]) {
        let NestedScales { codes, absmax, offset, block, .. } = self.nested;
        let codes = &codes[first..first + target.len()];
        let offset = _mm512_set1_ps(offset);
        // So that unpacking the halves gives the order of the codes.
        let quads = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
        let mut at = 0;
        while at < codes.len() {
            // Up to the end of the nested block.
            let end = ((first + at) / block + 1) * block - first;
            let count = LANES.min(end - at).min(codes.len() - at);
            let factor = _mm512_set1_ps(absmax[(first + at) / block]);
            let wanted = u32::MAX >> (LANES - count);
            // SAFETY: of 32 codes and scales only `count` are read and written; tables hold 256 words; the prefetch may
            // point anywhere.
            unsafe {
                let codes = codes.as_ptr().add(at);
                _mm_prefetch::<_MM_HINT_T0>(codes.wrapping_add(SCALES_AHEAD).cast());
                let codes = _mm256_maskz_loadu_epi8(wanted, codes.cast());
                let codes = _mm512_cvtepu8_epi16(_mm256_permutevar8x32_epi32(codes, quads));
                let (low, high) = (look_up(&self.halves[0], codes), look_up(&self.halves[1], codes));
                let front = _mm512_castsi512_ps(_mm512_unpacklo_epi16(low, high));
                let back = _mm512_castsi512_ps(_mm512_unpackhi_epi16(low, high));
                let to = target.as_mut_ptr().add(at);
                let front = _mm512_add_ps(_mm512_mul_ps(front, factor), offset);
                let back = _mm512_add_ps(_mm512_mul_ps(back, factor), offset);
                _mm512_mask_storeu_ps(to, wanted as u16, front);
                _mm512_mask_storeu_ps(to.wrapping_add(16), (wanted >> 16) as u16, back);
            }
            at += count;
        }
    }
}

/// Words of a table by 32 indices below 256.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn look_up(table: &[u16; 256], indices: __m512i) -> __m512i {
    let mut quarters = [_mm512_setzero_si512(); 4];
    for (quarter, found) in quarters.iter_mut().enumerate() {
        // SAFETY: 64 of 256 words.
        unsafe {
            let from = table.as_ptr().add(64 * quarter);
            *found = _mm512_permutex2var_epi16(
                _mm512_loadu_si512(from.cast()),
                indices,
                _mm512_loadu_si512(from.add(32).cast()),
            );
        }
    }
    let odd = _mm512_test_epi16_mask(indices, _mm512_set1_epi16(64));
    let upper = _mm512_test_epi16_mask(indices, _mm512_set1_epi16(128));
    let front = _mm512_mask_blend_epi16(odd, quarters[0], quarters[1]);
    let back = _mm512_mask_blend_epi16(odd, quarters[2], quarters[3]);
    _mm512_mask_blend_epi16(upper, front, back)
}
