//! Tasks of a product with tile registers.
//!
//! Some blocks of K of a slab of columns are packed. Then a block of a column panel stays in the nearest cache while the
//! row panels of the same block stream past it, and the sums of every tile wait in the second cache for the next block:
//! C is touched once for all of them.

use crate::cpu::amx::{Before, Columns, TILE, Tiles, multiply};
use crate::cpu::gemm::kernel::MicroKernel;
use crate::cpu::gemm::pack::{Panel, pack};
use crate::cpu::gemm::product::{
    Scratch, Start, Target, Term, block_words, blocks, column_panel, row_panel, stored_rows,
};
use std::arch::x86_64::*;
use std::ops::Range;

/// Words of K whose sums wait between blocks: beyond them, C itself holds the sums.
const CHUNK_WORDS: usize = 512;

/// Words that a last, short term (a low-rank branch) may add to a chunk.
const MORE_WORDS: usize = 64;

/// Row panels whose sums wait at a time.
const MOST_PANELS: usize = 64;

/// A block of K of a term.
struct Segment<'a> {
    term: &'a Term<'a>,
    depth: Range<usize>,
    /// Words of K.
    words: usize,
    /// First word of its rows.
    rows: usize,
    /// First word of its columns among those of its chunk.
    columns: usize,
}

/// Blocks of K, of the same factor, that are added to C at once.
struct Chunk<'a> {
    segments: Vec<Segment<'a>>,
    alpha: f32,
    words: usize,
}

/// Blocks of all terms in their order.
fn chunks<'a>(kernel: &MicroKernel, terms: &'a [Term<'a>], column_panels: usize) -> Vec<Chunk<'a>> {
    let mut chunks: Vec<Chunk<'a>> = Vec::new();
    for term in terms {
        for (index, depth) in blocks(kernel, term.rows.depth).enumerate() {
            let words = block_words(kernel, &depth);
            let rows = stored_rows(kernel, term.rows.rows) * index * kernel.block_words_for(term.rows.depth);
            let fits = |chunk: &Chunk<'_>| {
                let most = if words > MORE_WORDS { CHUNK_WORDS } else { CHUNK_WORDS + MORE_WORDS };
                chunk.alpha == term.alpha() && chunk.words + words <= most
            };
            if !chunks.last().is_some_and(fits) {
                chunks.push(Chunk { segments: Vec::new(), alpha: term.alpha(), words: 0 });
            }
            let chunk = chunks.last_mut().expect("one was pushed");
            let columns = column_panels * kernel.columns * chunk.words;
            chunk.segments.push(Segment { term, depth, words, rows, columns });
            chunk.words += words;
        }
    }
    chunks
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
    let panel = |index: usize, words: usize| column_panel(kernel, &span, index, words);
    let chunks = chunks(kernel, terms, column_panels);
    let Scratch { columns, stage, sums } = scratch;
    // SAFETY: kernels of this layout are only chosen where tile registers may be used.
    let _tiles = unsafe { Tiles::shape() };
    for (number, Chunk { segments, alpha, words }) in chunks.iter().enumerate() {
        let packed = columns.words(column_panels * kernel.columns * words);
        for Segment { term, depth, words, columns, .. } in segments {
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
        let before = if number == 0 { start } else { Start::Accumulate };
        let near = (kernel.row_block_bytes / (4 * kernel.rows * words)).clamp(1, MOST_PANELS);
        let sums = sums.floats(near * kernel.rows * kernel.columns);
        for first in panels.clone().step_by(near) {
            let rows = first..(first + near).min(panels.end);
            for index in 0..column_panels {
                let mut job = Job { kernel, target, rows: rows.clone(), panel: panel(index, 1), sums: &mut *sums };
                job.add(segments, packed, *alpha, before);
            }
        }
    }
    if chunks.is_empty() {
        for index in 0..column_panels {
            Job { kernel, target, rows: panels.clone(), panel: panel(index, 1), sums: &mut [] }.clear(start);
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
    fn add(&mut self, segments: &[Segment<'_>], packed: &[u32], alpha: f32, before: Start<'_>) {
        if self.panel.width == self.kernel.columns {
            self.add_tiles::<2>(segments, packed, alpha, before);
        } else {
            self.add_tiles::<1>(segments, packed, alpha, before);
        }
    }

    fn add_tiles<const V: usize>(&mut self, segments: &[Segment<'_>], packed: &[u32], alpha: f32, before: Start<'_>) {
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
                let (to, to_stride) =
                    if is_last && direct && !matches!(before, Start::Bias(_)) { (c, stride) } else { (sums, width) };
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
