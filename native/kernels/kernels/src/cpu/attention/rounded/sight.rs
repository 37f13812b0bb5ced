//! Which blocks of 32 rows by 32 keys causality and the window leave, and which lanes of them.

use super::super::plan::{Geometry, Segment};
use super::pack::BLOCK;
use std::ops::Range;

/// A run of queries of a segment. Rows are (query, head of the group), the head running fastest.
#[derive(Clone, Copy)]
pub struct Sight {
    /// Position of the first query in the sequence.
    low: usize,
    /// Number of rows.
    pub rows: usize,
    /// Keys of the segment.
    keys: usize,
    group: usize,
    causal: bool,
    window: usize,
}

/// Lanes of a block that are shown: bit j of a row's word stands for its key j.
pub type Lanes = [u32; BLOCK];

impl Sight {
    /// Queries `first..first + count` of `segment`.
    pub fn new(geometry: &Geometry, segment: &Segment, first: usize, count: usize) -> Self {
        let (group, causal, window) = (geometry.group(), geometry.causal, geometry.window);
        Self { low: segment.position + first, rows: count * group, keys: segment.keys, group, causal, window }
    }

    /// Number of blocks of rows.
    pub fn row_blocks(&self) -> usize {
        self.rows.div_ceil(BLOCK)
    }

    /// Keys that a row sees.
    fn keys_of(&self, row: usize) -> Range<usize> {
        let position = self.low + row / self.group;
        let start = if self.window > 0 { (position + 1).saturating_sub(self.window) } else { 0 };
        let end = if self.causal { self.keys.min(position + 1) } else { self.keys };
        start.min(end)..end
    }

    /// First and last row of a block.
    fn ends(&self, row_block: usize) -> (usize, usize) {
        (row_block * BLOCK, self.rows.min((row_block + 1) * BLOCK) - 1)
    }

    /// Blocks of keys that at least one of a block's rows sees.
    pub fn key_blocks(&self, row_block: usize) -> Range<usize> {
        let (first, last) = self.ends(row_block);
        let (start, end) = (self.keys_of(first).start, self.keys_of(last).end);
        if start < end { start / BLOCK..end.div_ceil(BLOCK) } else { 0..0 }
    }

    /// Blocks of keys that at least one row sees.
    pub fn all_key_blocks(&self) -> Range<usize> {
        let (start, end) = (self.keys_of(0).start, self.keys_of(self.rows - 1).end);
        if start < end { start / BLOCK..end.div_ceil(BLOCK) } else { 0..0 }
    }

    /// Blocks of rows that see at least one key of a block.
    pub fn row_blocks_of(&self, key_block: usize) -> Range<usize> {
        let sees = |row_block: &usize| self.key_blocks(*row_block).contains(&key_block);
        let Some(first) = (0..self.row_blocks()).find(sees) else { return 0..0 };
        first..(first..self.row_blocks()).take_while(sees).count() + first
    }

    /// The lanes of a block, or none when every row sees every key of it. Rows beyond the last see what the last sees.
    pub fn lanes(&self, row_block: usize, key_block: usize) -> Option<Lanes> {
        let (first, last) = self.ends(row_block);
        let (start, end) = (key_block * BLOCK, (key_block + 1) * BLOCK);
        if self.keys_of(last).start <= start && end <= self.keys_of(first).end {
            return None;
        }
        Some(std::array::from_fn(|row| {
            let keys = self.keys_of((first + row).min(last));
            let below =
                |key: usize| u32::MAX.checked_shl(key.saturating_sub(start) as u32).map_or(u32::MAX, |bits| !bits);
            below(keys.end) & !below(keys.start)
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_and_lanes_are_those_of_the_mask() {
        for (causal, window, group) in
            [(true, 0, 1), (true, 7, 2), (false, 5, 3), (false, 0, 2), (true, 1, 4), (true, 90, 5)]
        {
            let geometry = Geometry { heads: group, kv_heads: 1, dim: 8, causal, window, scale: 1.0, softcap: 0.0 };
            for (length, first, count) in [(40, 0, 9), (130, 5, 12), (140, 20, 100), (33, 3, 30), (256, 64, 64)] {
                let segment = Segment { query: 0, queries: length, position: 0, key: 0, keys: length };
                let sees = |query: usize, key: usize| {
                    key < length && (!causal || key <= query) && (window == 0 || query < key + window)
                };
                let sight = Sight::new(&geometry, &segment, first, count);
                for row_block in 0..sight.row_blocks() {
                    let rows = row_block * BLOCK..(count * group).min((row_block + 1) * BLOCK);
                    for key_block in 0..length.div_ceil(BLOCK) {
                        let keys = key_block * BLOCK..(key_block + 1) * BLOCK;
                        let shown = |row: usize, key: usize| sees(first + row / group, key);
                        let any = rows.clone().any(|row| keys.clone().any(|key| shown(row, key)));
                        assert!(!any || sight.key_blocks(row_block).contains(&key_block));
                        assert!(!any || sight.all_key_blocks().contains(&key_block));
                        assert!(!any || sight.row_blocks_of(key_block).contains(&row_block));
                        let lanes = sight.lanes(row_block, key_block).unwrap_or([u32::MAX; BLOCK]);
                        for row in rows.clone() {
                            for key in keys.clone() {
                                let bit = lanes[row - rows.start] >> (key - keys.start) & 1 == 1;
                                assert_eq!(bit, shown(row, key), "row {row} key {key}");
                            }
                        }
                    }
                }
            }
        }
    }
}
