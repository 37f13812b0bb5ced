//! Packs operands whose lanes are source columns: goes down the rows, one step of K of all panels at a time.

use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::kernel::{MicroKernel, PanelWord};
use crate::cpu::gemm::matrix::Matrix;
use crate::cpu::gemm::pack::{Panel, stage_row};
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use crate::cpu::gemm::{matrix::Elements, pack::as_floats, pack_columns_avx2, row_load::load_f32};
#[cfg(target_arch = "x86_64")]
use crate::cpu::isa::Isa;
#[cfg(target_arch = "x86_64")]
use crate::cpu::simd::prefetch_far;
#[cfg(target_arch = "x86_64")]
use half::bf16;
#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Packs panels `panels` (consecutive lanes) of columns of `matrix` for rows `depth` into `target`.
pub fn pack_columns(
    kernel: &MicroKernel,
    matrix: &Matrix<'_>,
    depth: Range<usize>,
    panels: Range<usize>,
    panel: &dyn Fn(usize) -> Panel,
    target: &mut [u32],
    stage: &mut WordBuffer,
) {
    #[cfg(target_arch = "x86_64")]
    if kernel.word == PanelWord::Bf16Pair {
        return pack_pairs(kernel, matrix, depth, panels, panel, target, stage);
    }
    #[cfg(target_arch = "x86_64")]
    if kernel.isa == Isa::Avx2 && (kernel.word == PanelWord::F32 || matches!(matrix.elements, Elements::Bf16(_))) {
        let places: Vec<Panel> = panels.clone().map(panel).collect();
        if places.iter().all(|panel| panel.width.is_multiple_of(8))
            && pack_columns_avx2::pack_plain(matrix, depth.clone(), &places, target)
        {
            return;
        }
    }
    let first = panel(panels.start).start;
    let last = panel(panels.end - 1);
    let lanes = last.start + last.count - first;
    let end = depth.end;
    for (step, row) in depth.enumerate() {
        #[cfg(target_arch = "x86_64")]
        if row + AHEAD < end {
            prefetch_lanes(matrix, row + AHEAD, first, lanes);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = end;
        let words = stage.words(lanes);
        stage_row(kernel, matrix, row, first, lanes, words);
        for index in panels.clone() {
            let Panel { start, count, width, offset } = panel(index);
            let to = &mut target[offset + step * width..offset + (step + 1) * width];
            copy_lanes(&words[start - first..start - first + count], to);
        }
    }
}

/// Copies lanes and fills the rest of a panel's step with zeros; full panels of the usual widths without a call.
fn copy_lanes(from: &[u32], to: &mut [u32]) {
    match (from.len(), to.len()) {
        (16, 16) => return to[..16].copy_from_slice(&from[..16]),
        (32, 32) => return to[..32].copy_from_slice(&from[..32]),
        _ => {}
    }
    to[..from.len()].copy_from_slice(from);
    to[from.len()..].fill(0);
}

/// Pairs of rows become words of two bf16. Plain rows are read where they lie; other formats pass through a buffer
/// of f32.
#[cfg(target_arch = "x86_64")]
fn pack_pairs(
    kernel: &MicroKernel,
    matrix: &Matrix<'_>,
    depth: Range<usize>,
    panels: Range<usize>,
    panel: &dyn Fn(usize) -> Panel,
    target: &mut [u32],
    stage: &mut WordBuffer,
) {
    let first = panel(panels.start).start;
    let last = panel(panels.end - 1);
    let lanes = last.start + last.count - first;
    assert!(first + lanes <= matrix.columns && depth.end <= matrix.rows, "columns or rows outside the matrix");
    // Zeros stand in for the second row of a last odd one.
    let line = lanes.next_multiple_of(16);
    let staged = stage.words(3 * line);
    staged[2 * line..].fill(0);
    let (rows, zeros) = staged.split_at_mut(2 * line);
    let (even, odd) = rows.split_at_mut(line);
    let places: Vec<Panel> = panels.map(panel).collect();
    for (step, row) in depth.clone().step_by(2).enumerate() {
        let has_odd = row + 1 < depth.end;
        for ahead in [row + AHEAD, row + AHEAD + 1] {
            if ahead < depth.end {
                prefetch_lanes(matrix, ahead, first, lanes);
            }
        }
        let source = match matrix.elements {
            Elements::F32(values) => {
                let at = |row: usize| values[matrix.index(row, first)..][..lanes].as_ptr();
                RowPair::F32(at(row), if has_odd { at(row + 1) } else { zeros.as_ptr().cast() })
            }
            Elements::Bf16(values) => {
                let at = |row: usize| values[matrix.index(row, first)..][..lanes].as_ptr();
                RowPair::Bf16(at(row), if has_odd { at(row + 1) } else { zeros.as_ptr().cast() })
            }
            Elements::F16(_) | Elements::Quant4(_) => {
                load_f32(kernel.isa, matrix, row, first, &mut as_floats(even)[..lanes]);
                if has_odd {
                    load_f32(kernel.isa, matrix, row + 1, first, &mut as_floats(odd)[..lanes]);
                }
                let second = if has_odd { odd.as_ptr() } else { zeros.as_ptr() };
                RowPair::F32(even.as_ptr().cast(), second.cast())
            }
        };
        // SAFETY: `lanes` lanes of both rows exist (checked above, or staged); every panel covers its words of this step
        // (checked by the caller of the packing); words of bf16 pairs are only chosen where AVX-512-BF16 was detected.
        unsafe { pair_step(source, first, step, &places, target.as_mut_ptr()) };
    }
}

/// Rows that are fetched ahead, into the second cache: they lie a page or so apart, where no hardware prefetcher follows.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 32;

/// Asks for the cache lines of a stretch of a row.
#[cfg(target_arch = "x86_64")]
fn prefetch_lanes(matrix: &Matrix<'_>, row: usize, first: usize, lanes: usize) {
    let first = matrix.index(row, first);
    let (base, start, end) = match matrix.elements {
        Elements::F32(values) => (values.as_ptr().cast::<i8>(), 4 * first, 4 * (first + lanes)),
        Elements::Bf16(values) => (values.as_ptr().cast::<i8>(), 2 * first, 2 * (first + lanes)),
        Elements::F16(values) => (values.as_ptr().cast::<i8>(), 2 * first, 2 * (first + lanes)),
        Elements::Quant4(view) => (view.codes().as_ptr().cast::<i8>(), first / 2, (first + lanes) / 2),
    };
    for line in (start..end).step_by(64) {
        prefetch_far(base.wrapping_add(line));
    }
}

/// Two rows of a source.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy)]
enum RowPair {
    F32(*const f32, *const f32),
    Bf16(*const bf16, *const bf16),
}

/// Writes one step of every panel: their lanes of a pair of rows, then zeros.
///
/// # Safety
/// Both rows hold the lanes of the panels from lane `first` on; `target` holds their words of this step.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pair_step(source: RowPair, first: usize, step: usize, panels: &[Panel], target: *mut u32) {
    // Words 0..16 and 16..32 of two rows of 32 bf16, interleaved; the second row has bit 5 of the index set.
    let mut low = [0u16; 32];
    for (lane, index) in low.iter_mut().enumerate() {
        *index = (lane / 2 + 32 * (lane % 2)) as u16;
    }
    // SAFETY: 32 indices of 16 bits.
    let low = unsafe { _mm512_loadu_si512(low.as_ptr().cast()) };
    let high = _mm512_add_epi16(low, _mm512_set1_epi16(16));
    for panel in panels {
        let (at, to) = (panel.start - first, target.wrapping_add(panel.offset + step * panel.width));
        // SAFETY: full panels read and write 32 lanes; the others are masked; all are covered by the caller.
        unsafe {
            if panel.count == 32 && panel.width == 32 {
                let (even, odd) = match source {
                    RowPair::Bf16(even, odd) => {
                        (_mm512_loadu_si512(even.add(at).cast()), _mm512_loadu_si512(odd.add(at).cast()))
                    }
                    RowPair::F32(even, odd) => (narrow(even.add(at)), narrow(odd.add(at))),
                };
                _mm512_storeu_si512(to.cast(), _mm512_permutex2var_epi16(even, low, odd));
                _mm512_storeu_si512(to.add(16).cast(), _mm512_permutex2var_epi16(even, high, odd));
            } else {
                pair_panel(source, at, panel.count, panel.width, to);
            }
        }
    }
}

/// 32 f32 as bf16.
///
/// # Safety
/// `from` points to 32 values.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn narrow(from: *const f32) -> __m512i {
    // SAFETY: by the caller; the types have the same size.
    unsafe {
        std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(
            _mm512_loadu_ps(from.add(16)),
            _mm512_loadu_ps(from),
        ))
    }
}

/// Writes `width` words: lanes `start..start + count` of a pair of rows, then zeros.
///
/// # Safety
/// Both rows hold the lanes, `to` holds `width` words.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pair_panel(source: RowPair, start: usize, count: usize, width: usize, to: *mut u32) {
    for lane in (0..width).step_by(16) {
        let present = low_lanes(count.saturating_sub(lane));
        let written = low_lanes(width - lane);
        // SAFETY: masked lanes are not touched, the others are covered by the caller.
        unsafe {
            let (even, odd) = match source {
                RowPair::Bf16(even, odd) => (
                    _mm256_maskz_loadu_epi16(present, even.add(start + lane).cast()),
                    _mm256_maskz_loadu_epi16(present, odd.add(start + lane).cast()),
                ),
                RowPair::F32(even, odd) => {
                    let even = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(present, even.add(start + lane)));
                    let odd = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(present, odd.add(start + lane)));
                    (std::mem::transmute::<__m256bh, __m256i>(even), std::mem::transmute::<__m256bh, __m256i>(odd))
                }
            };
            let high = _mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(odd));
            let words = _mm512_or_si512(_mm512_cvtepu16_epi32(even), high);
            _mm512_mask_storeu_epi32(to.add(lane).cast(), written, words);
        }
    }
}

/// A mask of the lowest `count` of 16 lanes.
#[cfg(target_arch = "x86_64")]
fn low_lanes(count: usize) -> u16 {
    if count >= 16 { u16::MAX } else { (1 << count) - 1 }
}
