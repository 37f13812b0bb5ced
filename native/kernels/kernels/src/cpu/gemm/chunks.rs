//! Blocks of K of all terms of a product, in the order in which a task adds them up.

use crate::cpu::gemm::kernel::{MicroKernel, RowLayout};
use crate::cpu::gemm::product::{Term, block_words, blocks, stored_rows};
use std::ops::Range;

/// Words that a short block (a low-rank branch) may add to the one before it.
const MORE_WORDS: usize = 64;

/// A block of K of a term.
pub struct Segment<'a> {
    pub term: &'a Term<'a>,
    pub depth: Range<usize>,
    /// Words of K.
    pub words: usize,
    /// First word of its rows.
    pub rows: usize,
    /// First word of its columns among those of its chunk.
    pub columns: usize,
}

/// Blocks of K that are added up in registers: one, or one and a short one, of the same factor where rows lie in tiles;
/// elsewhere the first one's is 1 otherwise.
pub struct Chunk<'a> {
    pub first: Segment<'a>,
    pub second: Option<Segment<'a>>,
}

impl<'a> Chunk<'a> {
    /// Factor of the first block.
    pub fn alpha(&self) -> f32 {
        self.first.term.alpha()
    }

    /// One or two blocks.
    pub fn segments(&self) -> impl Iterator<Item = &Segment<'a>> {
        std::iter::once(&self.first).chain(&self.second)
    }

    /// Words of K.
    pub fn words(&self) -> usize {
        self.segments().map(|segment| segment.words).sum()
    }
}

/// Blocks of all terms in their order; columns of a chunk are `column_panels` panels.
pub fn chunks<'a>(kernel: &MicroKernel, terms: &'a [Term<'a>], column_panels: usize) -> Vec<Chunk<'a>> {
    let mut chunks: Vec<Chunk<'a>> = Vec::new();
    for term in terms {
        for (index, depth) in blocks(kernel, term.rows.depth).enumerate() {
            let words = block_words(kernel, &depth);
            let rows = stored_rows(kernel, term.rows.rows) * index * kernel.block_words_for(term.rows.depth);
            let mut segment = Segment { term, depth, words, rows, columns: 0 };
            match chunks.last_mut() {
                Some(Chunk { first, second: second @ None })
                    if words <= MORE_WORDS
                        && (first.term.alpha() == term.alpha()
                            || (kernel.layout == RowLayout::Steps && first.term.alpha() == 1.0)) =>
                {
                    segment.columns = column_panels * kernel.columns * first.words;
                    *second = Some(segment);
                }
                _ => chunks.push(Chunk { first: segment, second: None }),
            }
        }
    }
    chunks
}
