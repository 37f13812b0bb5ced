//! Packs operands of a product into panels: `width` words per step of K, zero beyond the last lane.

use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::kernel::{MicroKernel, PanelWord};
use crate::cpu::gemm::matrix::{Elements, Matrix};
use crate::cpu::gemm::pack_columns::pack_columns;
use crate::cpu::gemm::row_load::{load_bf16, load_f32, round_in_place};
use crate::cpu::gemm::transpose::{Transpose, transpose};
use half::bf16;
use std::ops::Range;

#[cfg(target_arch = "x86_64")]
use crate::cpu::{gemm::transpose_widen::transpose_widened, isa::Isa};

/// Which way the lanes of a panel (rows or columns of C) lie in the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lanes {
    /// A lane is a source row and K runs along it.
    Rows,
    /// A lane is a source column and K runs down the rows.
    Columns,
}

/// One operand of a product.
#[derive(Clone, Copy)]
pub struct Operand<'a> {
    /// The source.
    pub matrix: Matrix<'a>,
    /// Orientation.
    pub lanes: Lanes,
}

impl<'a> Operand<'a> {
    /// Lanes along the rows of `matrix`.
    pub fn rows(matrix: Matrix<'a>) -> Self {
        Self { matrix, lanes: Lanes::Rows }
    }

    /// Lanes along the columns of `matrix`.
    pub fn columns(matrix: Matrix<'a>) -> Self {
        Self { matrix, lanes: Lanes::Columns }
    }

    /// Number of lanes: the extent of C along this operand.
    pub fn count(&self) -> usize {
        match self.lanes {
            Lanes::Rows => self.matrix.rows,
            Lanes::Columns => self.matrix.columns,
        }
    }

    /// Lanes `start..end` of this operand.
    ///
    /// # Panics
    /// When the range leaves the operand.
    pub fn range(&self, start: usize, end: usize) -> Self {
        let matrix = match self.lanes {
            Lanes::Rows => self.matrix.row_range(start, end),
            Lanes::Columns => self.matrix.column_range(start, end),
        };
        Self { matrix, lanes: self.lanes }
    }

    /// Extent of K.
    pub fn depth(&self) -> usize {
        match self.lanes {
            Lanes::Rows => self.matrix.columns,
            Lanes::Columns => self.matrix.rows,
        }
    }
}

/// Lanes `start..start + count`, stored `width` words per step from word `offset` of the target on.
#[derive(Clone, Copy, Debug)]
pub struct Panel {
    /// First lane.
    pub start: usize,
    /// Lanes present.
    pub count: usize,
    /// Words per step.
    pub width: usize,
    /// First word in the target.
    pub offset: usize,
}

/// Packs panels `panels` (consecutive lanes) for K in `depth` into `target`.
pub fn pack(
    kernel: &MicroKernel,
    operand: &Operand<'_>,
    depth: Range<usize>,
    panels: Range<usize>,
    panel: &dyn Fn(usize) -> Panel,
    target: &mut [u32],
    stage: &mut WordBuffer,
) {
    let words = depth.len().div_ceil(kernel.word.depth());
    for index in panels.clone() {
        let Panel { count, width, offset, .. } = panel(index);
        assert!(count <= width && offset + words * width <= target.len(), "panel {index} outside its buffer");
    }
    match operand.lanes {
        Lanes::Rows => {
            for index in panels {
                pack_rows(kernel, &operand.matrix, depth.clone(), panel(index), target, stage);
            }
        }
        Lanes::Columns if !panels.is_empty() => {
            pack_columns(kernel, &operand.matrix, depth, panels, panel, target, stage);
        }
        Lanes::Columns => {}
    }
}

/// Source rows are lanes: stage them in the panel's word format if needed, then transpose.
fn pack_rows(
    kernel: &MicroKernel,
    matrix: &Matrix<'_>,
    depth: Range<usize>,
    panel: Panel,
    target: &mut [u32],
    stage: &mut WordBuffer,
) {
    let words = depth.len().div_ceil(kernel.word.depth());
    let target = target[panel.offset..panel.offset + words * panel.width].as_mut_ptr();
    let direct = match (matrix.elements, kernel.word) {
        (Elements::F32(values), PanelWord::F32) => Some((values.as_ptr().cast::<u8>(), 4)),
        (Elements::Bf16(values), PanelWord::Bf16Pair) if depth.len().is_multiple_of(2) => {
            Some((values.as_ptr().cast::<u8>(), 2))
        }
        _ => None,
    };
    if let (Some((source, size)), true) = (direct, panel.count > 0) {
        let last = matrix.index(panel.start + panel.count - 1, depth.start) + depth.len();
        assert!(panel.start + panel.count <= matrix.rows && depth.end <= matrix.columns && last > 0);
        // SAFETY: the rows and columns lie inside the matrix, whose constructor checked its length; the
        // target slice above covers the panel.
        unsafe {
            let source = source.add(size * matrix.index(panel.start, depth.start));
            let stride_bytes = size * matrix.stride;
            let (lanes, width) = (panel.count, panel.width);
            transpose(kernel.isa, Transpose { source, stride_bytes, lanes, words, target, width, written: width });
        }
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if let Elements::Bf16(values) = matrix.elements
        && kernel.isa == Isa::Avx2
        && panel.width.is_multiple_of(8)
        && panel.count > 0
    {
        let last = matrix.index(panel.start + panel.count - 1, depth.start) + depth.len();
        assert!(panel.start + panel.count <= matrix.rows && depth.end <= matrix.columns && last <= values.len());
        // SAFETY: the values were checked just now, the target slice above covers the panel, and AVX2 was detected for
        // this kernel. Values of bf16 need no rounding, whatever the kernel's words.
        unsafe {
            let source = values.as_ptr().add(matrix.index(panel.start, depth.start)).cast::<u8>();
            let (lanes, width) = (panel.count, panel.width);
            let stride_bytes = 2 * matrix.stride;
            transpose_widened(Transpose { source, stride_bytes, lanes, words, target, width, written: width });
        }
        return;
    }
    // One extra line per row keeps the rows of the stage off the same cache sets.
    let row_words = words.next_multiple_of(16) + 16;
    let group = panel.width.min(16);
    for first in (0..panel.width).step_by(group) {
        let lanes = panel.count.saturating_sub(first).min(group);
        let staged = stage.words(group * row_words);
        for lane in 0..lanes {
            let row = &mut staged[lane * row_words..lane * row_words + words];
            stage_row(kernel, matrix, panel.start + first + lane, depth.start, depth.len(), row);
        }
        // SAFETY: `staged` holds `group` rows of `row_words >= words` words; the lanes `first..first +
        // group` of the panel are inside the target because `width` is at most 16 or a multiple of it.
        unsafe {
            let (source, stride_bytes) = (staged.as_ptr().cast::<u8>(), 4 * row_words);
            let (target, width) = (target.add(first), panel.width);
            transpose(kernel.isa, Transpose { source, stride_bytes, lanes, words, target, width, written: group });
        }
    }
}

/// Writes `count` columns of a row as panel words; the last half pair is zero.
pub(super) fn stage_row(
    kernel: &MicroKernel,
    matrix: &Matrix<'_>,
    row: usize,
    start: usize,
    count: usize,
    words: &mut [u32],
) {
    match kernel.word {
        PanelWord::F32 => load_f32(kernel.isa, matrix, row, start, as_floats(words)),
        PanelWord::RoundedF32 => {
            let floats = as_floats(words);
            load_f32(kernel.isa, matrix, row, start, floats);
            round_in_place(kernel.isa, floats);
        }
        PanelWord::Bf16Pair => {
            if count % 2 == 1 {
                words[count / 2] = 0;
            }
            load_bf16(kernel.isa, matrix, row, start, &mut as_halves(words)[..count]);
        }
    }
}

/// Panel words as f32.
pub(super) fn as_floats(words: &mut [u32]) -> &mut [f32] {
    // SAFETY: same size and alignment; every bit pattern is a valid f32.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<f32>(), words.len()) }
}

/// Panel words as pairs of bf16.
pub(super) fn as_halves(words: &mut [u32]) -> &mut [bf16] {
    // SAFETY: bf16 is a transparent u16; two fit a word, alignment of u32 suffices.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<bf16>(), 2 * words.len()) }
}
