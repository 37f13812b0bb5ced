//! Keys and values of a call, rounded once and read by every task: the query heads of a group and all blocks of
//! queries share them.

use super::super::plan::{Geometry, Segment};
use super::pack::{CALL, Memory, Rows, line, pack_pairs, pack_rows, panels, row_words};
use super::tile::{Left, PANEL, Right};
use crate::cpu::pool::{Pool, SharedMut};

/// Keys that one task rounds; even, so that pairs do not straddle tasks.
const CHUNK: usize = 256;

/// A tensor [T, KV, D] to round, and the orders wanted.
pub struct Source<'a> {
    /// Elements.
    pub values: &'a [f32],
    /// Pairs along the head wanted.
    pub rows: bool,
    /// Pairs along the keys wanted.
    pub pairs: bool,
}

/// Rounded tensors; see [`Packed`].
pub struct Keys {
    memory: Memory,
    sizes: Sizes,
    /// First words of (rows, pairs) of each tensor.
    places: Vec<(usize, usize)>,
}

#[derive(Clone, Copy)]
struct Sizes {
    tokens: usize,
    kv_heads: usize,
    words: usize,
    slots: usize,
    panels: usize,
}

impl Sizes {
    fn new(geometry: &Geometry, segments: &[Segment], tokens: usize) -> Self {
        // A segment's pairs begin at key / 2 + its index, so that an odd length costs no neighbour its first pair.
        let slots = tokens / 2 + segments.len() + 1;
        let (words, panels) = (row_words(geometry.dim), panels(geometry.dim));
        Self { tokens, kv_heads: geometry.kv_heads, words, slots, panels }
    }

    fn rows(&self) -> usize {
        line(self.kv_heads * self.tokens * self.words)
    }

    fn pairs(&self) -> usize {
        self.kv_heads * self.panels * self.slots * PANEL
    }

    fn row(&self, kv_head: usize, token: usize) -> usize {
        (kv_head * self.tokens + token) * self.words
    }

    fn pair(&self, kv_head: usize, segment: usize, token: usize, key: usize) -> usize {
        (kv_head * self.panels * self.slots + token / 2 + segment + key / 2) * PANEL
    }
}

/// Addresses of one rounded tensor.
#[derive(Clone, Copy)]
pub struct Packed {
    rows: *const u32,
    pairs: *const u32,
    sizes: Sizes,
}

// SAFETY: carries addresses of memory that outlives the pool's run and is only read meanwhile.
unsafe impl Send for Packed {}
// SAFETY: as above.
unsafe impl Sync for Packed {}

impl Packed {
    /// Pairs along the head as a left operand whose rows are keys from `key` of the segment on.
    pub fn rows(&self, kv_head: usize, segment: &Segment, key: usize) -> Left {
        let at = self.rows.wrapping_add(self.sizes.row(kv_head, segment.key + key));
        Left { at, row: self.sizes.words, step: 1 }
    }

    /// Pairs along the keys as a right operand, from key `key` (even) of the segment `index` on.
    pub fn pairs(&self, kv_head: usize, index: usize, segment: &Segment, key: usize) -> Right {
        let at = self.pairs.wrapping_add(self.sizes.pair(kv_head, index, segment.key, key));
        Right { at, panel: self.sizes.slots * PANEL }
    }
}

impl Keys {
    /// Rounds `sources` in parallel.
    ///
    /// # Safety
    /// AVX-512 F, BW and BF16 exist.
    pub unsafe fn pack(pool: &Pool, geometry: &Geometry, segments: &[Segment], sources: &[Source<'_>]) -> Self {
        let (kv_heads, dim) = (geometry.kv_heads, geometry.dim);
        let tokens = sources.first().map_or(0, |source| source.values.len() / (kv_heads * dim));
        let sizes = Sizes::new(geometry, segments, tokens);
        let mut places = Vec::new();
        let mut words = 0;
        for source in sources {
            let rows = words;
            words += if source.rows { sizes.rows() } else { 0 };
            places.push((rows, words));
            words += if source.pairs { sizes.pairs() } else { 0 };
        }
        let mut memory = Memory::take(&CALL, words);
        let target = SharedMut::new(memory.words());
        let chunks: Vec<(usize, usize)> = (0..segments.len())
            .flat_map(|index| (0..segments[index].keys).step_by(CHUNK).map(move |first| (index, first)))
            .collect();
        pool.run(chunks.len() * kv_heads, &|task| {
            let ((index, first), head) = (chunks[task / kv_heads], task % kv_heads);
            let segment = segments[index];
            let (token, count) = (segment.key + first, CHUNK.min(segment.keys - first));
            for (source, (rows_at, pairs_at)) in sources.iter().zip(&places) {
                let rows = Rows { values: source.values, token, count, heads: kv_heads, head, group: 1, dim };
                // SAFETY: the instructions exist; each task writes the rows and pairs of its own keys.
                unsafe {
                    if source.rows {
                        let start = rows_at + sizes.row(head, token);
                        pack_rows(rows, 1.0, target.slice(start, start + count * sizes.words));
                    }
                    if source.pairs {
                        let start = pairs_at + sizes.pair(head, index, segment.key, first);
                        pack_pairs(rows, 1.0, target.at(start), sizes.slots * PANEL);
                    }
                }
            }
        });
        Self { memory, sizes, places }
    }

    /// The rounded tensor of source `index`.
    pub fn get(&mut self, index: usize) -> Packed {
        let (rows, pairs) = self.places[index];
        let base = self.memory.words().as_ptr();
        Packed { rows: base.wrapping_add(rows), pairs: base.wrapping_add(pairs), sizes: self.sizes }
    }
}
