//! The blocked product: C = start + sum over terms of alpha · rows · columns.
//!
//! All row panels of a term are packed once, by all threads; then tasks of a slab of columns (and, where
//! C is narrow, a group of row panels) pack their column panels block by block and run the micro-kernel.
//! The column panel stays in the nearest cache while the row panels stream past it. Blocks of K follow
//! one fixed order, so neither the number of threads nor timing changes a bit of the result.

use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::chunks::{Segment, chunks};
use crate::cpu::gemm::kernel::{MicroKernel, Part, RowLayout, Write};
use crate::cpu::gemm::pack::{Operand, Panel, pack};
use crate::cpu::gemm::target::Target;
#[cfg(target_arch = "x86_64")]
use crate::cpu::gemm::{
    pack_tiles::{self, pack_tiles},
    product_tiles,
};
use crate::cpu::pool::{Pool, SharedMut};
use std::cell::RefCell;
use std::ops::Range;

/// Widest slab of columns.
const SLAB_COLUMNS: usize = 256;
/// Bytes of the packed columns of a slab, so that those of a deep block stay in the second cache.
const SLAB_BYTES: usize = 768 << 10;
/// Tasks per thread aimed at, so that a thread that was held up does not hold up the others.
const TASKS_PER_THREAD: usize = 4;
/// Largest tile, in columns times rows, of any micro-kernel.
const EDGE_FLOATS: usize = 32 * 16;

/// Packed rows of one term, for reuse by several products.
pub struct PackedRows<'a> {
    pub(super) words: &'a [u32],
    pub(super) rows: usize,
    pub(super) depth: usize,
    /// Factor that is not yet part of the words.
    pub(super) alpha: f32,
}

/// One term of a product.
#[derive(Clone, Copy)]
pub struct Term<'a> {
    /// Left operand, packed.
    pub rows: &'a PackedRows<'a>,
    /// Right operand.
    pub columns: Operand<'a>,
}

impl Term<'_> {
    /// Factor of the product of what was packed.
    pub(super) fn alpha(&self) -> f32 {
        self.rows.alpha
    }
}

/// What C holds before the terms are added.
#[derive(Clone, Copy)]
pub enum Start<'a> {
    /// Nothing: C is overwritten.
    Overwrite,
    /// Its present values.
    Accumulate,
    /// One value per column, or nothing.
    Bias(&'a [f32]),
}

#[derive(Default)]
pub(super) struct Scratch {
    pub(super) columns: WordBuffer,
    pub(super) stage: WordBuffer,
    /// Sums of tiles.
    pub(super) sums: WordBuffer,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch::default());
}

/// Words that [`pack_rows`] needs.
pub fn packed_words(kernel: &MicroKernel, rows: usize, depth: usize) -> usize {
    stored_rows(kernel, rows) * blocks(kernel, depth).map(|block| block_words(kernel, &block)).sum::<usize>()
}

/// Whether [`pack_rows`] makes the factor part of the words; see `pack_tiles`.
pub fn packs_factor(kernel: &MicroKernel, operand: &Operand<'_>, alpha: f32) -> bool {
    #[cfg(target_arch = "x86_64")]
    return pack_tiles::packs_factor(kernel, operand, alpha);
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (kernel, operand, alpha);
        false
    }
}

/// Packs the left operand of a product with factor `alpha` into `words` (at least [`packed_words`]).
pub fn pack_rows<'a>(
    kernel: &MicroKernel,
    pool: &Pool,
    operand: &Operand<'_>,
    alpha: f32,
    words: &'a mut [u32],
) -> PackedRows<'a> {
    let (inside, alpha) = if packs_factor(kernel, operand, alpha) { (alpha, 1.0) } else { (1.0, alpha) };
    let (rows, depth) = (operand.count(), operand.depth());
    let words = &mut words[..packed_words(kernel, rows, depth)];
    let panels = rows.div_ceil(kernel.rows);
    let block_count = blocks(kernel, depth).count();
    // Panels per task: a few thousand words, so that small operands stay on one thread.
    let group = (1usize << 15).div_ceil((kernel.rows * kernel.block_words_for(depth)).max(1)).max(1);
    let groups = panels.div_ceil(group);
    let shared = SharedMut::new(words);
    pool.run(groups * block_count, &|task| {
        let (block, group_index) = (task / groups, task % groups);
        let depth_range = nth_block(kernel, depth, block);
        let step_words = block_words(kernel, &depth_range);
        let base = stored_rows(kernel, rows) * block * kernel.block_words_for(depth);
        let chosen = group_index * group..((group_index + 1) * group).min(panels);
        let first = row_panel(kernel, rows, chosen.start).0;
        let (last_start, last_count) = row_panel(kernel, rows, chosen.end - 1);
        // SAFETY: panels of a block occupy disjoint ranges, in panel order, and blocks follow each other.
        let target = unsafe {
            let end = last_start + stored_rows(kernel, last_count);
            shared.slice(base + first * step_words, base + end * step_words)
        };
        let panel = |index: usize| {
            let (start, count) = row_panel(kernel, rows, index);
            let width = stored_rows(kernel, count);
            Panel { start, count, width, offset: (start - first) * step_words }
        };
        SCRATCH.with_borrow_mut(|Scratch { columns, stage, .. }| match kernel.layout {
            RowLayout::Steps => pack(kernel, operand, depth_range, chosen, &panel, target, stage),
            #[cfg(target_arch = "x86_64")]
            RowLayout::Tiles => {
                pack_tiles(kernel, operand, inside, depth_range, chosen, &panel, target, (stage, columns));
            }
            #[cfg(not(target_arch = "x86_64"))]
            RowLayout::Tiles => unreachable!("tiles without an instruction set that has them"),
        });
    });
    // SAFETY: all tasks are done; the words are exclusively borrowed for 'a and only read from here on.
    let words = unsafe { shared.slice(0, packed_words(kernel, rows, depth)) };
    PackedRows { words, rows, depth, alpha }
}

/// Adds up the terms into C.
///
/// # Panics
/// When the extents of terms and target disagree.
pub fn product(kernel: &MicroKernel, pool: &Pool, terms: &[Term<'_>], start: Start<'_>, target: &Target<'_>) {
    let (rows, columns) = (target.rows, target.columns);
    for term in terms {
        assert_eq!(term.rows.rows, rows, "rows of a term and of the target");
        assert_eq!(term.columns.count(), columns, "columns of a term and of the target");
        assert_eq!(term.columns.depth(), term.rows.depth, "depth of both sides of a term");
    }
    if let Start::Bias(bias) = start {
        assert_eq!(bias.len(), columns, "bias and columns");
    }
    if target.rounds {
        let plain = terms.iter().all(|term| term.alpha() == 1.0) && !matches!(start, Start::Accumulate);
        assert!(plain && kernel.layout == RowLayout::Tiles, "a target that rounds");
    }
    if rows == 0 || columns == 0 {
        return;
    }
    let widest = match kernel.layout {
        RowLayout::Steps => {
            let deepest = terms.iter().map(|term| kernel.block_words_for(term.rows.depth)).max().unwrap_or(0);
            SLAB_BYTES / size_of::<u32>() / deepest.max(1)
        }
        RowLayout::Tiles => SLAB_COLUMNS,
    };
    let widest = (widest.min(SLAB_COLUMNS) / kernel.columns).max(1);
    let slab = kernel.columns * slab_panels(columns.div_ceil(kernel.columns), widest, pool.threads());
    let slabs = columns.div_ceil(slab);
    let panels = rows.div_ceil(kernel.rows);
    let groups = (2 * pool.threads()).div_ceil(slabs).min(panels);
    pool.run(slabs * groups, &|task| {
        let (slab_index, group) = (task / groups, task % groups);
        let chosen = group * panels / groups..(group + 1) * panels / groups;
        let span = slab_index * slab..((slab_index + 1) * slab).min(columns);
        SCRATCH.with_borrow_mut(|scratch| {
            #[cfg(target_arch = "x86_64")]
            if kernel.layout == RowLayout::Tiles {
                return product_tiles::run_slab(kernel, terms, start, target, chosen, span, scratch);
            }
            run_slab(kernel, terms, start, target, chosen, span, scratch);
        });
    });
}

/// Column panels per slab: the choice that lets threads of equal speed end together; among those, the widest that leaves
/// [`TASKS_PER_THREAD`] tasks, else the narrowest.
pub(super) fn slab_panels(panels: usize, widest: usize, threads: usize) -> usize {
    let span = |size: usize| panels.div_ceil(size).div_ceil(threads) * size;
    let enough = |size: usize| panels.div_ceil(size) >= threads * TASKS_PER_THREAD;
    let rank = |size: &usize| (span(*size), !enough(*size), if enough(*size) { widest - size } else { *size });
    (1..=widest).min_by_key(rank).unwrap_or(1)
}

fn run_slab(
    kernel: &MicroKernel,
    terms: &[Term<'_>],
    start: Start<'_>,
    target: &Target<'_>,
    panels: Range<usize>,
    span: Range<usize>,
    scratch: &mut Scratch,
) {
    let (first_row, _) = row_panel(kernel, target.rows, panels.start);
    let (last_row, last_count) = row_panel(kernel, target.rows, panels.end - 1);
    let row_slice = |row: usize, range: &Range<usize>| {
        // SAFETY: inside the target, and each task owns its rows of its columns.
        unsafe { std::slice::from_raw_parts_mut(target.at(row, range.start), range.len()) }
    };
    let mut write = Write::Accumulate;
    match start {
        Start::Accumulate => {}
        Start::Overwrite => write = Write::Overwrite,
        Start::Bias(bias) => {
            for row in first_row..last_row + last_count {
                row_slice(row, &span).copy_from_slice(&bias[span.clone()]);
            }
        }
    }
    let column_panels = span.len().div_ceil(kernel.columns);
    let chunks = chunks(kernel, terms, column_panels);
    if write == Write::Overwrite && target.streams && kernel.streams && chunks.len() == 1 {
        write = Write::Stream;
    }
    let mut edge = [0.0f32; EDGE_FLOATS];
    let Scratch { columns, stage, .. } = scratch;
    for chunk in &chunks {
        let words = chunk.words();
        let packed = columns.words(column_panels * kernel.columns * words);
        for Segment { term, depth, words, columns, .. } in chunk.segments() {
            let packed = &mut packed[*columns..][..column_panels * kernel.columns * words];
            let place = |index: usize| column_panel(kernel, &span, index, *words);
            pack(kernel, &term.columns, depth.clone(), 0..column_panels, &place, packed, stage);
        }
        let tile_of = |row_index: usize, column: usize, edge: &mut [f32; EDGE_FLOATS]| {
            let Panel { start: begin, count, width, offset } = column_panel(kernel, &span, column, 1);
            let (row, height) = row_panel(kernel, target.rows, row_index);
            let part = |segment: &Segment<'_>| {
                let Segment { term, words, rows, columns, .. } = segment;
                let a = &term.rows.words[rows + row * words..][..height * words];
                let b = &packed[columns + offset * words..][..width * words];
                Part { steps: *words, a: a.as_ptr(), b: b.as_ptr(), factor: term.alpha() }
            };
            let last = part(&chunk.first);
            // A factor multiplies all sums so far, so the short block comes first; where both have one, it is the last's.
            let short = chunk.second.as_ref().map_or(Part { steps: 0, factor: 1.0, ..last }, part);
            let parts = [if last.factor == 1.0 { short } else { Part { factor: 1.0, ..short } }, last];
            let tile = kernel.tiles[height - 1][usize::from(width == kernel.columns)];
            if count == width {
                let c = target.at(row, begin);
                // SAFETY: the panels cover their steps of `height` and `width` words; the tile lies inside the rows and
                // columns that this task owns, and begins at a line where the target streams.
                unsafe { tile(&parts, c, target.stride, write) };
                return;
            }
            // SAFETY: as above; the tile is at most EDGE_FLOATS large.
            unsafe { tile(&parts, edge.as_mut_ptr(), width, Write::Overwrite) };
            for line in 0..height {
                let c = row_slice(row + line, &(begin..begin + count));
                for (to, from) in c.iter_mut().zip(&edge[line * width..]) {
                    *to = if write == Write::Accumulate { *to + from } else { *from };
                }
            }
        };
        let near = (kernel.row_block_bytes / (4 * kernel.rows * words)).max(1);
        for near_start in panels.clone().step_by(near) {
            let rows = near_start..(near_start + near).min(panels.end);
            for column in 0..column_panels {
                rows.clone().for_each(|row_index| tile_of(row_index, column, &mut edge));
            }
        }
        write = Write::Accumulate;
    }
    if chunks.is_empty() && write == Write::Overwrite {
        for row in first_row..last_row + last_count {
            row_slice(row, &span).fill(0.0);
        }
    }
    if target.streams {
        fence();
    }
}

/// What passed the caches is visible to other threads after this.
fn fence() {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: no operands; part of every x86-64 processor.
    unsafe {
        std::arch::x86_64::_mm_sfence();
    }
}

/// Rows that a panel of `rows` rows, or all panels of so many, take in memory.
pub(super) fn stored_rows(kernel: &MicroKernel, rows: usize) -> usize {
    rows.next_multiple_of(kernel.layout.multiple())
}

/// First row and height of row panel `index`. Heights differ by at most one, so none is nearly empty; those of tiles are
/// whole, but for the last.
pub(super) fn row_panel(kernel: &MicroKernel, rows: usize, index: usize) -> (usize, usize) {
    if kernel.layout == RowLayout::Tiles {
        let start = index * kernel.rows;
        return (start, kernel.rows.min(rows - start));
    }
    let panels = rows.div_ceil(kernel.rows);
    let (height, taller) = (rows / panels, rows % panels);
    (index * height + index.min(taller), height + usize::from(index < taller))
}

/// Column panel `index` of a slab of columns, whose panels hold `words` steps of K.
pub(super) fn column_panel(kernel: &MicroKernel, span: &Range<usize>, index: usize, words: usize) -> Panel {
    let start = span.start + index * kernel.columns;
    let count = (span.end - start).min(kernel.columns);
    let width = if count <= kernel.columns / 2 { kernel.columns / 2 } else { kernel.columns };
    Panel { start, count, width, offset: index * kernel.columns * words }
}

/// Blocks of K, in order.
pub(super) fn blocks(kernel: &MicroKernel, depth: usize) -> impl Iterator<Item = Range<usize>> + use<> {
    let step = (kernel.block_words_for(depth) * kernel.word.depth()).max(1);
    (0..depth).step_by(step).map(move |start| start..(start + step).min(depth))
}

fn nth_block(kernel: &MicroKernel, depth: usize, index: usize) -> Range<usize> {
    let step = kernel.block_words_for(depth) * kernel.word.depth();
    index * step..((index + 1) * step).min(depth)
}

pub(super) fn block_words(kernel: &MicroKernel, block: &Range<usize>) -> usize {
    block.len().div_ceil(kernel.word.depth()).next_multiple_of(kernel.layout.multiple())
}

#[cfg(test)]
mod tests {
    use super::slab_panels;

    #[test]
    fn slabs_end_together_and_leave_several_tasks_a_thread() {
        // 64 panels (2048 columns) as 8 tasks of 8: 11 tasks of 6 would give one of two threads 12 % more.
        assert_eq!(slab_panels(64, 8, 2), 8);
        assert_eq!(slab_panels(32, 8, 2), 4);
        assert_eq!(slab_panels(96, 8, 2), 8);
        assert_eq!(slab_panels(24, 8, 2), 3);
        assert_eq!(slab_panels(3, 8, 2), 1);
        assert_eq!(slab_panels(1, 8, 16), 1);
        for (panels, threads) in [(1, 1), (7, 3), (33, 4), (4748, 8), (95, 2)] {
            let size = slab_panels(panels, 8, threads);
            let ideal = panels.div_ceil(threads);
            let span = panels.div_ceil(size).div_ceil(threads) * size;
            assert!(span <= ideal.next_multiple_of(size) && span - ideal < size, "{panels} panels, {threads} threads");
        }
    }
}
