//! Transposes rows of bf16 ("lanes") into panels of f32 without a row-major copy between: AVX2.

use crate::cpu::gemm::transpose::{Transpose, turn_8x8};
use std::arch::x86_64::*;

/// `target[word * width + lane] = f32(source[lane][word])`; lanes from `lanes` to `written` become zero. `words` counts
/// values of bf16, `stride_bytes` lies between lanes, as in [`super::transpose::transpose`].
///
/// # Safety
/// The extents named in `job` must be readable and writable, `written` a multiple of 8, and AVX2 present.
#[target_feature(enable = "avx2")]
pub unsafe fn transpose_widened(job: Transpose) {
    let whole = job.words / 8 * 8;
    for group in (0..job.written).step_by(8) {
        let present = job.lanes.saturating_sub(group).min(8);
        for word in (0..whole).step_by(8) {
            let mut r = [_mm256_setzero_ps(); 8];
            // SAFETY: lane `group + i < lanes` and 8 values from `word` exist; prefetches may point anywhere.
            unsafe {
                let base = job.source.add(2 * word).wrapping_add(group * job.stride_bytes);
                if word.is_multiple_of(32) {
                    // The next eight lanes: rows are too short for the processor to see where they continue.
                    for i in 8..16 {
                        _mm_prefetch::<_MM_HINT_T0>(base.wrapping_add(i * job.stride_bytes).cast());
                    }
                }
                for i in 0..8 {
                    if i < present {
                        let halves = _mm_loadu_si128(base.add(i * job.stride_bytes).cast());
                        r[i] = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)));
                    }
                }
                let target = job.target.add(word * job.width + group).cast::<f32>();
                for (i, value) in turn_8x8(r).iter().enumerate() {
                    _mm256_storeu_ps(target.add(i * job.width), *value);
                }
            }
        }
        for lane in group..group + 8 {
            for word in whole..job.words {
                // SAFETY: the lane is checked before the read; the write is inside words * width.
                unsafe {
                    let bits = if lane < job.lanes {
                        u32::from(job.source.add(lane * job.stride_bytes + 2 * word).cast::<u16>().read_unaligned())
                    } else {
                        0
                    };
                    *job.target.add(word * job.width + lane) = bits << 16;
                }
            }
        }
    }
}
