//! Tasks of a product with tile registers.
//!
//! All blocks of K of a slab of columns are packed first. Then a block of a column panel stays in the nearest cache while
//! the row panels of the same block stream past it, and the sums of every tile wait in a few KiB of the second cache for
//! the next block: C is written once.

use crate::cpu::amx::{Before, Columns, TILE, Tiles, multiply};
use crate::cpu::gemm::kernel::MicroKernel;
use crate::cpu::gemm::pack::{Panel, pack};
use crate::cpu::gemm::product::{Scratch, Start, Target, Term, block_words, blocks, row_panel, stored_rows};
use std::arch::x86_64::*;
use std::ops::Range;

/// Bytes of packed columns of a task aimed at: a quarter of the second cache.
const COLUMN_BYTES: usize = 512 << 10;

/// Column panels per slab, at most, for a total depth of so many words.
pub fn widest_slab(kernel: &MicroKernel, words: usize) -> usize {
    (COLUMN_BYTES / (4 * kernel.columns * words.max(1))).clamp(1, 8)
}

/// A block of K of a term.
struct Segment<'a> {
    term: &'a Term<'a>,
    depth: Range<usize>,
    /// Words of K, and where its rows and columns begin.
    words: usize,
    rows: usize,
    columns: usize,
}

/// One task: row panels `panels`, columns `span`.
pub fn run_slab(
    kernel: &MicroKernel,
    terms: &[Term<'_>],
    start: Start<'_>,
    target: &Target<'_>,
    panels: Range<usize>,
    span: Range<usize>,
    scratch: &mut Scratch,
) {
    let column_panels = span.len().div_ceil(kernel.columns);
    let mut segments = Vec::new();
    let mut packed_words = 0;
    for term in terms {
        for (index, depth) in blocks(kernel, term.rows.depth).enumerate() {
            let words = block_words(kernel, &depth);
            let rows = stored_rows(kernel, term.rows.rows) * index * kernel.block_words_for(term.rows.depth);
            segments.push(Segment { term, depth, words, rows, columns: packed_words });
            packed_words += column_panels * kernel.columns * words;
        }
    }
    let panel = |index: usize, words: usize| {
        let begin = span.start + index * kernel.columns;
        let count = (span.end - begin).min(kernel.columns);
        let width = if count <= kernel.columns / 2 { kernel.columns / 2 } else { kernel.columns };
        Panel { start: begin, count, width, offset: index * kernel.columns * words }
    };
    let Scratch { columns, stage, sums } = scratch;
    let packed = columns.words(packed_words);
    for Segment { term, depth, words, columns, .. } in &segments {
        let packed = &mut packed[*columns..][..column_panels * kernel.columns * words];
        let used = depth.len().div_ceil(kernel.word.depth());
        let place = |index: usize| panel(index, *words);
        pack(kernel, &term.columns, depth.clone(), 0..column_panels, &place, packed, stage);
        if used < *words {
            for index in 0..column_panels {
                let Panel { width, offset, .. } = place(index);
                packed[offset + used * width..offset + words * width].fill(0);
            }
        }
    }
    let row_words = segments.iter().map(|segment| segment.words).sum::<usize>();
    let near = (kernel.row_block_bytes / (4 * kernel.rows * row_words.max(1))).max(1);
    let sums = sums.floats(near * kernel.rows * kernel.columns);
    // SAFETY: kernels of this layout are only chosen where tile registers may be used.
    let _tiles = unsafe { Tiles::shape() };
    for first in panels.clone().step_by(near) {
        let rows = first..(first + near).min(panels.end);
        for index in 0..column_panels {
            let mut job = Job { kernel, target, rows: rows.clone(), panel: panel(index, 1), sums: &mut *sums };
            // Terms of factor 1 are summed up together, the others one by one.
            let mut before = start;
            let plain: Vec<&Segment<'_>> = segments.iter().filter(|segment| segment.term.alpha() == 1.0).collect();
            let others = terms.iter().filter(|term| term.alpha() != 1.0);
            if !plain.is_empty() {
                job.group(&plain, packed, 1.0, before);
                before = Start::Accumulate;
            }
            for term in others {
                let own = |segment: &&Segment<'_>| std::ptr::eq(segment.term, term);
                let own: Vec<&Segment<'_>> = segments.iter().filter(own).collect();
                if !own.is_empty() {
                    job.group(&own, packed, term.alpha(), before);
                    before = Start::Accumulate;
                }
            }
            if segments.is_empty() {
                job.clear(start);
            }
        }
    }
}

/// A column panel and the row panels that stream past it.
struct Job<'a> {
    kernel: &'a MicroKernel,
    target: &'a Target<'a>,
    rows: Range<usize>,
    panel: Panel,
    sums: &'a mut [f32],
}

impl Job<'_> {
    /// C = before + alpha · the sum of `segments`.
    fn group(&mut self, segments: &[&Segment<'_>], packed: &[u32], alpha: f32, before: Start<'_>) {
        if self.panel.width == self.kernel.columns {
            self.group_of::<2>(segments, packed, alpha, before);
        } else {
            self.group_of::<1>(segments, packed, alpha, before);
        }
    }

    fn group_of<const V: usize>(&mut self, segments: &[&Segment<'_>], packed: &[u32], alpha: f32, before: Start<'_>) {
        let Panel { start: column, count, width, .. } = self.panel;
        for (index, segment) in segments.iter().enumerate() {
            let Segment { term, words, rows, columns, .. } = segment;
            let b = &packed[columns + self.panel.offset * words..][..words * width];
            let b = Columns { at: b.as_ptr(), stride: width };
            let (is_first, is_last) = (index == 0, index + 1 == segments.len());
            for row_index in self.rows.clone() {
                let (row, height) = row_panel(self.kernel, self.target.rows, row_index);
                let a = &term.rows.words[rows + row * words..][..stored_rows(self.kernel, height) * words];
                let sums = self.sums[(row_index - self.rows.start) * self.kernel.rows * width..].as_mut_ptr();
                let own = Before { at: sums, stride: width };
                let c = self.target.at(row, column);
                let direct = alpha == 1.0 && count == width && height.is_multiple_of(TILE);
                let stride = self.target.stride;
                let from = match before {
                    _ if !is_first => Some(own),
                    Start::Accumulate if direct => Some(Before { at: c, stride }),
                    _ => None,
                };
                let (to, to_stride) = if is_last && direct && !matches!(before, Start::Bias(_)) { (c, stride) } else { (sums, width) };
                // SAFETY: the panels hold `words` steps (sliced just now); the sums have room for every row panel of this
                // job, and C for whole tiles, which this task owns.
                unsafe { multiply::<V>(height > TILE, *words, a.as_ptr(), b, from, to, to_stride) };
                if is_last && !std::ptr::eq(to, c) {
                    // SAFETY: as above.
                    unsafe { finish::<V>(height, count, sums, alpha, c, stride, before, column) };
                }
            }
        }
    }

    /// C = before, where there is nothing to add.
    fn clear(&self, before: Start<'_>) {
        let Panel { start: column, count, .. } = self.panel;
        for row_index in self.rows.clone() {
            let (row, height) = row_panel(self.kernel, self.target.rows, row_index);
            for line in row..row + height {
                // SAFETY: inside the target, and each task owns its rows of its columns.
                let c = unsafe { std::slice::from_raw_parts_mut(self.target.at(line, column), count) };
                match before {
                    Start::Overwrite => c.fill(0.0),
                    Start::Bias(bias) => c.copy_from_slice(&bias[column..column + count]),
                    Start::Accumulate => {}
                }
            }
        }
    }
}

/// C = before + alpha·sums in `rows` rows of `count` columns; the sums' rows are whole tiles.
///
/// # Safety
/// C covers them, a bias its columns, and AVX-512F exists.
#[target_feature(enable = "avx512f")]
unsafe fn finish<const V: usize>(
    rows: usize,
    count: usize,
    sums: *const f32,
    alpha: f32,
    c: *mut f32,
    stride: usize,
    before: Start<'_>,
    column: usize,
) {
    let scale = _mm512_set1_ps(alpha);
    for v in 0..V {
        let lanes = count.saturating_sub(TILE * v);
        let lanes: u16 = if lanes >= TILE { u16::MAX } else { (1 << lanes) - 1 };
        // SAFETY: masked lanes are not touched, the others are covered by the caller.
        unsafe {
            let bias = match before {
                Start::Bias(bias) => _mm512_maskz_loadu_ps(lanes, bias.as_ptr().wrapping_add(column + TILE * v)),
                _ => _mm512_setzero_ps(),
            };
            for row in 0..rows {
                let sum = _mm512_loadu_ps(sums.add((row * V + v) * TILE));
                let to = c.wrapping_add(row * stride + TILE * v);
                let value = match before {
                    Start::Accumulate => _mm512_fmadd_ps(sum, scale, _mm512_maskz_loadu_ps(lanes, to)),
                    _ => _mm512_fmadd_ps(sum, scale, bias),
                };
                _mm512_mask_storeu_ps(to, lanes, value);
            }
        }
    }
}
