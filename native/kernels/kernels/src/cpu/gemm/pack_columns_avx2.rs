//! Packs columns of plain rows into panels of f32 where they lie: AVX2, no copy of the row between.

use crate::cpu::gemm::matrix::{Elements, Matrix};
use crate::cpu::gemm::pack::Panel;
use half::bf16;
use std::arch::x86_64::*;
use std::ops::Range;

/// Rows that are fetched ahead: they lie a page or so apart, where no hardware prefetcher follows.
const AHEAD: usize = 16;

/// Packs panels `panels` (consecutive lanes, the first at lane `first`) for rows `depth` of `matrix` into `target`;
/// returns whether the format is one of those that are read in place.
///
/// # Panics
/// When columns or rows lie outside the matrix, or panels outside the target.
pub fn pack_plain(matrix: &Matrix<'_>, depth: Range<usize>, panels: &[Panel], target: &mut [u32]) -> bool {
    let (Some(head), Some(last)) = (panels.first(), panels.last()) else {
        return true;
    };
    let (first, lanes) = (head.start, last.start + last.count - head.start);
    assert!(first + lanes <= matrix.columns && depth.end <= matrix.rows, "columns or rows outside the matrix");
    assert!(panels.iter().all(|panel| panel.width.is_multiple_of(8) && panel.count <= panel.width));
    assert!(panels.iter().all(|panel| panel.offset + depth.len() * panel.width <= target.len()));
    if depth.is_empty() {
        return true;
    }
    let end = matrix.index(depth.end - 1, first) + lanes;
    let (start, stride) = (matrix.index(depth.start, first), matrix.stride);
    // SAFETY: the rows end inside the elements, panels inside the target (both checked here); the caller detected AVX2.
    unsafe {
        match matrix.elements {
            Elements::F32(values) => {
                assert!(end <= values.len());
                pack_f32(values.as_ptr().add(start), stride, depth.len(), panels, target.as_mut_ptr().cast());
            }
            Elements::Bf16(values) => {
                assert!(end <= values.len());
                pack_bf16(values.as_ptr().add(start), stride, depth.len(), panels, target.as_mut_ptr().cast());
            }
            Elements::F16(_) | Elements::Quant4(_) => return false,
        }
    }
    true
}

macro_rules! pack_rows_of {
    ($name:ident, $element:ty, |$from:ident| $load:expr, |$value:ident| $single:expr) => {
        /// # Safety
        /// `rows` rows hold the lanes of the panels, `target` their words; AVX2 is present.
        #[target_feature(enable = "avx2")]
        unsafe fn $name(source: *const $element, stride: usize, rows: usize, panels: &[Panel], target: *mut f32) {
            let first = panels[0].start;
            let lanes = panels[panels.len() - 1].start + panels[panels.len() - 1].count - first;
            for row in 0..rows {
                let source = source.wrapping_add(row * stride);
                let ahead = source.wrapping_add(AHEAD * stride).cast::<i8>();
                for line in (0..lanes * size_of::<$element>()).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T0>(ahead.wrapping_add(line));
                }
                for panel in panels {
                    let from = source.wrapping_add(panel.start - first);
                    let to = target.wrapping_add(panel.offset + row * panel.width);
                    // SAFETY: whole vectors inside the panel's lanes; the rest one by one, then zeros up to its width.
                    unsafe {
                        if panel.count == 16 && panel.width == 16 {
                            for lane in [0, 8] {
                                let $from = from.add(lane);
                                _mm256_storeu_ps(to.add(lane), $load);
                            }
                            continue;
                        }
                        for lane in 0..panel.width {
                            *to.add(lane) = if lane < panel.count {
                                let $value = *from.add(lane);
                                $single
                            } else {
                                0.0
                            };
                        }
                    }
                }
            }
        }
    };
}

pack_rows_of!(pack_f32, f32, |from| _mm256_loadu_ps(from), |value| value);
pack_rows_of!(
    pack_bf16,
    bf16,
    |from| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(from.cast())))),
    |value| f32::from_bits(u32::from(value.to_bits()) << 16)
);
