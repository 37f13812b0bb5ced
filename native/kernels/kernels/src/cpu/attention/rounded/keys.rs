//! Keys and values of a call, brought into the orders of the products once and read by every task: the query heads of a
//! group and all blocks of queries share them.

use super::super::pack::Rows as Stored;
use super::super::plan::{Geometry, Segment};
use super::pack::{BLOCK, CALL, Memory, pack_columns, pack_pairs};
use super::rows::{Place, Rows};
use crate::cpu::pool::{Pool, SharedMut};
use std::ops::Range;

/// Tokens that are asked for ahead: those of a head lie pages apart, where no hardware prefetcher follows.
const AHEAD: usize = BLOCK;

/// A tensor [T, KV, D] and the orders wanted.
pub struct Source<'a> {
    /// Elements.
    pub values: Stored<'a>,
    /// Panels of pairs along the head wanted, a column per key.
    pub columns: bool,
    /// Panels of pairs along the keys wanted, a column per element.
    pub pairs: bool,
}

/// Keys of all segments, each rounded up to whole blocks.
#[derive(Clone)]
pub struct Slots {
    /// First slot of each segment.
    pub starts: Vec<usize>,
    /// Number of slots.
    pub count: usize,
}

impl Slots {
    /// Slots of `segments`.
    pub fn new(segments: &[Segment]) -> Self {
        let mut count = 0;
        let starts = segments
            .iter()
            .map(|segment| {
                count += segment.keys.next_multiple_of(BLOCK);
                count - segment.keys.next_multiple_of(BLOCK)
            })
            .collect();
        Self { starts, count }
    }
}

/// Packed tensors; see [`Packed`].
pub struct Keys {
    memory: Memory,
    sizes: Sizes,
    /// First words of (columns, pairs) of each tensor.
    places: Vec<(usize, usize)>,
}

#[derive(Clone, Copy)]
struct Sizes {
    slots: usize,
    dim: usize,
    /// First head.
    head: usize,
}

impl Sizes {
    /// Words of one head in either order.
    fn words(&self) -> usize {
        self.slots * self.dim / 2
    }

    fn column(&self, kv_head: usize, slot: usize) -> usize {
        (kv_head - self.head) * self.words() + slot * self.dim / 2
    }

    fn pair(&self, kv_head: usize, slot: usize) -> usize {
        (kv_head - self.head) * self.words() + slot / 2 * BLOCK
    }

    /// Words between panels of pairs.
    fn panel(&self) -> usize {
        self.slots / 2 * BLOCK
    }
}

/// Addresses of one packed tensor.
#[derive(Clone, Copy)]
pub struct Packed {
    columns: *const u32,
    pairs: *const u32,
    sizes: Sizes,
}

// SAFETY: carries addresses of memory that outlives the pool's run and is only read meanwhile.
unsafe impl Send for Packed {}
// SAFETY: as above.
unsafe impl Sync for Packed {}

impl Packed {
    /// The panel of pairs along the head whose columns are 32 keys from slot `slot` on.
    pub fn columns(&self, kv_head: usize, slot: usize) -> *const u32 {
        self.columns.wrapping_add(self.sizes.column(kv_head, slot))
    }

    /// The panel of pairs of keys whose columns are 32 elements from `element` on, from slot `slot` on.
    pub fn pairs(&self, kv_head: usize, slot: usize, element: usize) -> *const u32 {
        self.pairs.wrapping_add(self.sizes.pair(kv_head, slot) + element / BLOCK * self.sizes.panel())
    }
}

impl Keys {
    /// Packs the heads `heads` of `sources` in parallel.
    ///
    /// # Safety
    /// AVX-512 F, BW, VL and BF16 exist.
    pub unsafe fn pack(
        pool: &Pool,
        geometry: &Geometry,
        segments: &[Segment],
        slots: &Slots,
        heads: Range<usize>,
        sources: &[Source<'_>],
    ) -> Self {
        let (kv_heads, dim) = (geometry.kv_heads, geometry.dim);
        let sizes = Sizes { slots: slots.count, dim: dim.next_multiple_of(BLOCK), head: heads.start };
        let mut places = Vec::new();
        let mut words = 0;
        for source in sources {
            let columns = words;
            words += if source.columns { heads.len() * sizes.words() } else { 0 };
            places.push((columns, words));
            words += if source.pairs { heads.len() * sizes.words() } else { 0 };
        }
        let mut memory = Memory::take(&CALL, words);
        let target = SharedMut::new(memory.words());
        let chunks: Vec<(usize, usize)> = (0..segments.len())
            .flat_map(|index| (0..segments[index].keys).step_by(BLOCK).map(move |first| (index, first)))
            .collect();
        pool.run(chunks.len(), &|task| {
            let (index, first) = chunks[task];
            let (segment, slot) = (segments[index], slots.starts[index] + first);
            let (token, count) = (segment.key + first, BLOCK.min(segment.keys - first));
            for (source, (columns_at, pairs_at)) in sources.iter().zip(&places) {
                for head in heads.clone() {
                    let place = Place { token, count, heads: kv_heads, head, group: 1, dim };
                    let rows = Rows { values: source.values, place };
                    Rows { place: Place { token: token + AHEAD, ..place }, ..rows }.strip().fetch();
                    // SAFETY: the instructions exist; each task writes the slots of its own keys.
                    unsafe {
                        if source.columns {
                            pack_columns(rows, target.at(columns_at + sizes.column(head, slot)));
                        }
                        if source.pairs {
                            pack_pairs(rows, target.at(pairs_at + sizes.pair(head, slot)), sizes.panel());
                        }
                    }
                }
            }
        });
        Self { memory, sizes, places }
    }

    /// The packed tensor of source `index`.
    pub fn get(&mut self, index: usize) -> Packed {
        let (columns, pairs) = self.places[index];
        let base = self.memory.words().as_ptr();
        Packed { columns: base.wrapping_add(columns), pairs: base.wrapping_add(pairs), sizes: self.sizes }
    }
}
