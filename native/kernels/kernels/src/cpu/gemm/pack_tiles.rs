//! Packs rows of C for tile registers ([`RowLayout::Tiles`](super::kernel::RowLayout)): 16 pairs of k of every row
//! lie together, rows after rows.

use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::kernel::{MicroKernel, RowLayout};
use crate::cpu::gemm::matrix::{Elements, Matrix};
use crate::cpu::gemm::pack::{Lanes, Operand, Panel, pack, stage_row};
use crate::cpu::gemm::transpose::{Transpose, transpose};
use half::bf16;
use std::arch::x86_64::*;
use std::ops::Range;

/// Words of a row of a tile.
const WORDS: usize = 16;

/// Whether the factor of a product can be part of the words: where they are rounded here, and a power of two, which
/// changes no rounding.
pub fn packs_factor(kernel: &MicroKernel, operand: &Operand<'_>, alpha: f32) -> bool {
    alpha.is_normal()
        && alpha.to_bits().trailing_zeros() >= 23
        && kernel.layout == RowLayout::Tiles
        && operand.lanes == Lanes::Rows
        && matches!(operand.matrix.elements, Elements::F32(_))
}

/// Packs panels `panels` of rows of C for K in `depth`, times `alpha` (see [`packs_factor`]), into `target`, whose panels hold `width` (a multiple of 16) rows.
/// Rows beyond a panel's last hold whatever was there: each reaches its own row of C only, which nobody reads.
pub fn pack_tiles(
    kernel: &MicroKernel,
    operand: &Operand<'_>,
    alpha: f32,
    depth: Range<usize>,
    panels: Range<usize>,
    panel: &dyn Fn(usize) -> Panel,
    target: &mut [u32],
    (stage, columns): (&mut WordBuffer, &mut WordBuffer),
) {
    let words = depth.len().div_ceil(kernel.word.depth());
    let padded = words.next_multiple_of(WORDS);
    for index in panels {
        let panel = panel(index);
        let target = &mut target[panel.offset..panel.offset + padded * panel.width];
        match operand.lanes {
            Lanes::Rows => pack_rows(kernel, &operand.matrix, alpha, depth.clone(), panel, target, stage),
            Lanes::Columns => {
                // As columns of C first, then tile by tile the other way round.
                let staged = columns.words(padded * panel.width);
                let alone = |_: usize| Panel { offset: 0, ..panel };
                pack(kernel, operand, depth.clone(), 0..1, &alone, staged, stage);
                staged[words * panel.width..].fill(0);
                turn(kernel, staged, panel.width, target);
            }
        }
    }
}

/// `staged` holds `width` words per step; `target` becomes 16 steps of every lane together.
fn turn(kernel: &MicroKernel, staged: &[u32], width: usize, target: &mut [u32]) {
    for (from, to) in staged.chunks_exact(WORDS * width).zip(target.chunks_exact_mut(WORDS * width)) {
        for first in (0..width).step_by(WORDS) {
            // SAFETY: 16 steps of 16 lanes on both sides.
            unsafe {
                let (source, target) = (from.as_ptr().add(first).cast(), to.as_mut_ptr().add(first * WORDS));
                let job = Transpose {
                    source,
                    stride_bytes: 4 * width,
                    lanes: WORDS,
                    words: WORDS,
                    target,
                    width: WORDS,
                    written: WORDS,
                };
                transpose(kernel.isa, job);
            }
        }
    }
}

/// Source rows are rows of the panel.
fn pack_rows(
    kernel: &MicroKernel,
    matrix: &Matrix<'_>,
    alpha: f32,
    depth: Range<usize>,
    panel: Panel,
    target: &mut [u32],
    stage: &mut WordBuffer,
) {
    let (count, step) = (depth.len(), WORDS * panel.width);
    assert!(panel.count <= panel.width && target.len() >= count.div_ceil(2 * WORDS) * step, "panel outside its buffer");
    for lane in 0..panel.count {
        let row = panel.start + lane;
        let to = target[lane * WORDS..].as_mut_ptr();
        let first = matrix.index(row, depth.start);
        // SAFETY: the row's values were sliced, the words of this lane lie inside the target (both checked); words of
        // bf16 pairs are only chosen where AVX-512-BF16 was detected.
        unsafe {
            match matrix.elements {
                Elements::F32(values) => {
                    round_row(values[first..first + count].as_ptr(), alpha, count, to, step);
                }
                Elements::Bf16(values) => copy_row(values[first..first + count].as_ptr(), count, to, step),
                Elements::F16(_) | Elements::Quant4(_) => {
                    let words = stage.words(count.div_ceil(2));
                    stage_row(kernel, matrix, row, depth.start, count, words);
                    copy_row(words.as_ptr().cast(), count, to, step);
                }
            }
        }
    }
}

/// Rounds `alpha` · `count` values to bf16: 32 of them every `step` words, zeros after the last.
///
/// # Safety
/// `from` holds `count` values, `to` its words.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn round_row(from: *const f32, alpha: f32, count: usize, mut to: *mut u32, step: usize) {
    let factor = _mm512_set1_ps(alpha);
    for index in (0..count).step_by(32) {
        let present = low_lanes(count - index);
        // SAFETY: lanes beyond the last are masked.
        unsafe {
            let low = _mm512_maskz_loadu_ps(present as u16, from.add(index));
            let high = _mm512_maskz_loadu_ps((present >> 16) as u16, from.wrapping_add(index + 16));
            let pairs = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(
                _mm512_mul_ps(high, factor),
                _mm512_mul_ps(low, factor),
            ));
            _mm512_storeu_si512(to.cast(), pairs);
        }
        to = to.wrapping_add(step);
    }
}

/// As [`round_row`], of bf16.
///
/// # Safety
/// As [`round_row`].
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn copy_row(from: *const bf16, count: usize, mut to: *mut u32, step: usize) {
    for index in (0..count).step_by(32) {
        // SAFETY: lanes beyond the last are masked.
        unsafe {
            let values = _mm512_maskz_loadu_epi16(low_lanes(count - index), from.add(index).cast());
            _mm512_storeu_si512(to.cast(), values);
        }
        to = to.wrapping_add(step);
    }
}

/// A mask of the lowest `count` of 32 lanes.
fn low_lanes(count: usize) -> u32 {
    if count >= 32 { u32::MAX } else { (1 << count) - 1 }
}
