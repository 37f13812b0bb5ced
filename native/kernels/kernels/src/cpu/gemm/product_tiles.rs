//! Tasks of a product with tile registers.
//!
//! A block of K of a slab of columns is packed into the second cache. Then every row panel passes it, piece by piece of K:
//! a piece of the row panel stays in the first cache while the columns stream past it, and so do the sums between pieces.
//! Between blocks, sums wait in the second cache, so that C is touched once.

use crate::cpu::amx::{Before, Columns, Part, TILE, Tiles, multiply, multiply_ahead};
use crate::cpu::gemm::chunks::{Chunk, Segment, chunks};
use crate::cpu::gemm::kernel::MicroKernel;
use crate::cpu::gemm::pack::{Panel, pack};
use crate::cpu::gemm::product::{Scratch, Start, Term, column_panel, row_panel, stored_rows};
use crate::cpu::gemm::target::Target;
use half::bf16;
use std::arch::x86_64::*;
use std::ops::Range;

/// Most pairs of row and column panels whose sums wait between chunks, in the second cache: 512 KiB. More wait in C.
const MOST_WAITING: usize = 128;

/// Words of K of a piece, at most: 16 KiB of a row panel.
const PIECE: usize = 128;

/// One task: row panels `panels`, columns `span`. Where the target rounds, so many row panels at a time as can wait.
pub fn run_slab(
    kernel: &MicroKernel,
    terms: &[Term<'_>],
    start: Start<'_>,
    target: &Target<'_>,
    panels: Range<usize>,
    span: Range<usize>,
    scratch: &mut Scratch,
) {
    let most = if target.rounds { MOST_WAITING / span.len().div_ceil(kernel.columns) } else { panels.len() };
    for first in panels.clone().step_by(most.max(1)) {
        let panels = first..(first + most.max(1)).min(panels.end);
        run_panels(kernel, terms, start, target, panels, span.clone(), scratch);
    }
}

fn run_panels(
    kernel: &MicroKernel,
    terms: &[Term<'_>],
    start: Start<'_>,
    target: &Target<'_>,
    panels: Range<usize>,
    span: Range<usize>,
    scratch: &mut Scratch,
) {
    let column_panels = span.len().div_ceil(kernel.columns);
    let chunks = chunks(kernel, terms, column_panels);
    let Scratch { columns, stage, sums } = scratch;
    let wait = chunks.len() > 1
        && chunks.iter().all(|chunk| chunk.alpha() == 1.0)
        && column_panels * panels.len() <= MOST_WAITING;
    let tile = kernel.rows * kernel.columns;
    let waiting = column_panels * if wait { panels.len() } else { 1 };
    let (edge, sums) = sums.floats((1 + waiting) * tile).split_at_mut(tile);
    // SAFETY: kernels of this layout are only chosen where tile registers may be used.
    let _tiles = unsafe { Tiles::shape() };
    for (number, chunk) in chunks.iter().enumerate() {
        let packed = columns.words(column_panels * kernel.columns * chunk.words());
        for Segment { term, depth, words, columns, .. } in chunk.segments() {
            let packed = &mut packed[*columns..][..column_panels * kernel.columns * words];
            let used = depth.len().div_ceil(kernel.word.depth());
            let place = |index: usize| column_panel(kernel, &span, index, *words);
            pack(kernel, &term.columns, depth.clone(), 0..column_panels, &place, packed, stage);
            if used < *words {
                for index in 0..column_panels {
                    let Panel { width, offset, .. } = place(index);
                    packed[offset + used * width..offset + words * width].fill(0);
                }
            }
        }
        let (is_first, is_last) = (number == 0, number + 1 == chunks.len());
        let words = chunk.first.words;
        let pieces = words.div_ceil(PIECE).max(1);
        let piece_words = words.div_ceil(pieces).next_multiple_of(TILE);
        for (line, row_index) in panels.clone().enumerate() {
            for (piece, index) in (0..pieces).flat_map(|piece| (0..column_panels).map(move |index| (piece, index))) {
                let place = if wait { line * column_panels + index } else { index };
                let following = if index + 1 < column_panels { (piece, index + 1) } else { ((piece + 1) % pieces, 0) };
                let is_last_piece = piece + 1 == pieces;
                let job = Job {
                    kernel,
                    target,
                    chunk,
                    packed,
                    row: row_panel(kernel, target.rows, row_index),
                    panel: column_panel(kernel, &span, index, 1),
                    words: (piece * piece_words).min(words)..((piece + 1) * piece_words).min(words),
                    with_second: is_last_piece,
                    next: packed[following.1 * kernel.columns * words..]
                        .as_ptr()
                        .wrapping_add(following.0 * piece_words * kernel.columns),
                    sums: sums[place * tile..].as_mut_ptr(),
                    edge: edge.as_mut_ptr(),
                    before: if is_first || wait { start } else { Start::Accumulate },
                    present: (wait && !is_first) || piece > 0,
                    stays: (wait && !is_last) || !is_last_piece,
                    streams: target.streams && (wait || chunks.len() == 1),
                };
                job.add();
            }
        }
    }
    if chunks.is_empty() {
        for index in 0..column_panels {
            let panel = column_panel(kernel, &span, index, 1);
            clear(kernel, target, panels.clone(), panel, start);
        }
    }
    // SAFETY: no operands; what passed the caches is visible before the task is done.
    unsafe { _mm_sfence() };
}

/// A tile of C and what a chunk adds to it.
struct Job<'a> {
    kernel: &'a MicroKernel,
    target: &'a Target<'a>,
    chunk: &'a Chunk<'a>,
    /// Columns of the chunk.
    packed: &'a [u32],
    /// First row, and rows.
    row: (usize, usize),
    panel: Panel,
    /// The piece: words of the chunk's first block of K.
    words: Range<usize>,
    /// Whether its second block follows them.
    with_second: bool,
    /// Columns that will be read next.
    next: *const u32,
    /// Where sums wait between pieces and chunks: room for a tile.
    sums: *mut f32,
    /// Room for a tile.
    edge: *mut f32,
    /// What C holds before.
    before: Start<'a>,
    /// Whether sums of what came before wait.
    present: bool,
    /// Whether the sums wait for more.
    stays: bool,
    /// Whether whole lines of C pass the caches: not where another chunk reads them again.
    streams: bool,
}

impl Job<'_> {
    /// C = before + alpha · the sum of the chunk, or the sums so far.
    fn add(&self) {
        // SAFETY: the panels hold their steps (sliced in `part`), there is room for sums, and the task owns this tile of C.
        unsafe { if self.panel.width == self.kernel.columns { self.add_tiles::<2>() } else { self.add_tiles::<1>() } }
    }

    /// Words `piece` of a block.
    fn part(&self, Segment { term, words, rows, columns, .. }: &Segment<'_>, piece: Range<usize>) -> Part {
        let (width, (row, height)) = (self.panel.width, self.row);
        let stored = stored_rows(self.kernel, height);
        let b = &self.packed[columns + self.panel.offset * words..][..words * width][piece.start * width..];
        let a = &term.rows.words[rows + row * words..][..stored * words][piece.start * stored..];
        Part { steps: piece.len(), a: a.as_ptr(), b: Columns { at: b.as_ptr(), stride: width } }
    }

    /// # Safety
    /// Room for sums, and this tile of C is nobody else's.
    unsafe fn add_tiles<const V: usize>(&self) {
        let Self { sums, edge, before, .. } = *self;
        let (Panel { start: column, count, width, .. }, (row, height)) = (self.panel, self.row);
        let rounds = self.target.rounds;
        let at = if rounds { self.target.at_rounded(row, column).cast() } else { self.target.at(row, column) };
        let c = Tile { at, stride: self.target.stride, rows: height, count, column };
        let Chunk { first, second } = self.chunk;
        let first = self.part(first, self.words.clone());
        let second = second.as_ref().filter(|_| self.with_second);
        let parts = match second {
            Some(segment) => [first, self.part(segment, 0..segment.words)],
            None => [Part { steps: 0, ..first }, first],
        };
        let whole = count == width && height.is_multiple_of(TILE);
        let streams = whole && self.streams && !matches!(before, Start::Accumulate);
        let alpha = self.chunk.alpha();
        // SAFETY: by the caller.
        unsafe {
            let from = match before {
                _ if self.present => Some(Before { at: sums, stride: width }),
                _ if alpha != 1.0 => None,
                Start::Overwrite => None,
                Start::Accumulate if whole => Some(Before { at: c.at, stride: c.stride }),
                before => {
                    c.begin::<V>(before, edge);
                    Some(Before { at: edge, stride: width })
                }
            };
            let (to, stride) = match () {
                () if self.stays => (sums, width),
                () if whole && !streams && alpha == 1.0 && !rounds => (c.at, c.stride),
                () => (edge, width),
            };
            if V == 2 && height > TILE {
                multiply_ahead(&parts, from, to, stride, self.next);
            } else {
                multiply::<V>(height > TILE, &parts, from, to, stride);
            }
            if !self.stays && to == edge {
                match alpha {
                    _ if rounds => c.round::<V>(edge, streams),
                    1.0 if streams => c.store::<V, true>(edge),
                    1.0 => c.store::<V, false>(edge),
                    alpha => c.add::<V>(edge, alpha, before),
                }
            }
        }
    }
}

/// C = before, where there is nothing to add.
fn clear(kernel: &MicroKernel, target: &Target<'_>, panels: Range<usize>, panel: Panel, before: Start<'_>) {
    let Panel { start: column, count, .. } = panel;
    for row_index in panels {
        let (row, height) = row_panel(kernel, target.rows, row_index);
        for line in row..row + height {
            if target.rounds {
                // SAFETY: inside the target, and each task owns its rows of its columns.
                let c = unsafe { std::slice::from_raw_parts_mut(target.at_rounded(line, column), count) };
                match before {
                    Start::Bias(bias) => {
                        c.iter_mut().zip(&bias[column..]).for_each(|(to, from)| *to = bf16::from_f32(*from))
                    }
                    _ => c.fill(bf16::ZERO),
                }
                continue;
            }
            // SAFETY: inside the target, and each task owns its rows of its columns.
            let c = unsafe { std::slice::from_raw_parts_mut(target.at(line, column), count) };
            match before {
                Start::Overwrite => c.fill(0.0),
                Start::Bias(bias) => c.copy_from_slice(&bias[column..column + count]),
                Start::Accumulate => {}
            }
        }
    }
}

/// A tile of C of up to 32 rows and columns, whose sums lie elsewhere: rows of `V` times 16.
struct Tile {
    /// First element; of bf16 where the target rounds.
    at: *mut f32,
    /// Elements between rows.
    stride: usize,
    rows: usize,
    /// Columns.
    count: usize,
    /// First column in C.
    column: usize,
}

impl Tile {
    /// Lanes of vector `v` that C has.
    fn lanes(&self, v: usize) -> u16 {
        let lanes = self.count.saturating_sub(TILE * v);
        if lanes >= TILE { u16::MAX } else { (1 << lanes) - 1 }
    }

    /// What C holds before, of vector `v` of a row.
    ///
    /// # Safety
    /// C covers the tile, a bias its columns, and AVX-512F exists.
    #[target_feature(enable = "avx512f")]
    #[inline]
    unsafe fn before(&self, before: Start<'_>, row: usize, v: usize) -> __m512 {
        // SAFETY: masked lanes are not touched, the others are covered by the caller.
        unsafe {
            match before {
                Start::Overwrite => _mm512_setzero_ps(),
                Start::Accumulate => {
                    _mm512_maskz_loadu_ps(self.lanes(v), self.at.wrapping_add(row * self.stride + TILE * v))
                }
                Start::Bias(bias) => {
                    _mm512_maskz_loadu_ps(self.lanes(v), bias.as_ptr().wrapping_add(self.column + TILE * v))
                }
            }
        }
    }

    /// sums = before.
    ///
    /// # Safety
    /// As [`Self::before`]; `sums` has room for whole tiles.
    #[target_feature(enable = "avx512f")]
    unsafe fn begin<const V: usize>(&self, before: Start<'_>, sums: *mut f32) {
        for row in 0..self.rows {
            for v in 0..V {
                // SAFETY: by the caller.
                unsafe { _mm512_storeu_ps(sums.add((row * V + v) * TILE), self.before(before, row, v)) };
            }
        }
    }

    /// C = sums; past the caches where it `STREAMS`, which needs whole lines of C.
    ///
    /// # Safety
    /// As [`Self::before`]; `sums` holds whole tiles.
    #[target_feature(enable = "avx512f")]
    unsafe fn store<const V: usize, const STREAMS: bool>(&self, sums: *const f32) {
        for row in 0..self.rows {
            for v in 0..V {
                let c = self.at.wrapping_add(row * self.stride + TILE * v);
                // SAFETY: by the caller; masked lanes are not touched.
                unsafe {
                    let value = _mm512_loadu_ps(sums.add((row * V + v) * TILE));
                    if STREAMS {
                        _mm512_stream_ps(c, value);
                    } else {
                        _mm512_mask_storeu_ps(c, self.lanes(v), value);
                    }
                }
            }
        }
    }

    /// C = sums, rounded to bf16; past the caches where it `streams`, which needs whole lines of C.
    ///
    /// # Safety
    /// AVX-512-BF16 exists, C is bf16 and covers the tile; `sums` holds whole tiles.
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn round<const V: usize>(&self, sums: *const f32, streams: bool) {
        let present = self.lanes(0) as u32 | if V > 1 { (self.lanes(1) as u32) << TILE } else { 0 };
        for row in 0..self.rows {
            let c = self.at.cast::<u16>().wrapping_add(row * self.stride);
            // SAFETY: by the caller; masked lanes are not touched.
            unsafe {
                let low = _mm512_loadu_ps(sums.add(row * V * TILE));
                let high = if V > 1 { _mm512_loadu_ps(sums.add((row * V + 1) * TILE)) } else { _mm512_setzero_ps() };
                let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
                if streams && V > 1 {
                    _mm512_stream_si512(c.cast(), both);
                } else {
                    _mm512_mask_storeu_epi16(c.cast(), present, both);
                }
            }
        }
    }

    /// C = before + alpha · sums.
    ///
    /// # Safety
    /// As [`Self::before`]; `sums` holds whole tiles.
    #[target_feature(enable = "avx512f")]
    unsafe fn add<const V: usize>(&self, sums: *const f32, alpha: f32, before: Start<'_>) {
        let alpha = _mm512_set1_ps(alpha);
        for row in 0..self.rows {
            for v in 0..V {
                let c = self.at.wrapping_add(row * self.stride + TILE * v);
                // SAFETY: by the caller; masked lanes are not touched.
                unsafe {
                    let sum = _mm512_loadu_ps(sums.add((row * V + v) * TILE));
                    let value = _mm512_fmadd_ps(sum, alpha, self.before(before, row, v));
                    _mm512_mask_storeu_ps(c, self.lanes(v), value);
                }
            }
        }
    }
}
