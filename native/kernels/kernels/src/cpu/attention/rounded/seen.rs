//! Which part of a pair of tiles causality and the window leave: products skip the rest.

use super::super::plan::{Geometry, Segment};
use std::ops::Range;

/// A run of queries over a run of keys. Rows are (query, head of the group), the head running fastest.
#[derive(Clone, Copy)]
pub struct Seen {
    /// Position of the first query in the sequence.
    pub low: usize,
    /// Number of queries.
    pub queries: usize,
    /// Position of the first key.
    pub first_key: usize,
    /// Number of keys.
    pub keys: usize,
    group: usize,
    causal: bool,
    window: usize,
}

impl Seen {
    /// Queries `first..first + queries` of `segment`, no keys yet.
    pub fn new(geometry: &Geometry, segment: &Segment, first: usize, queries: usize) -> Self {
        let low = segment.position + first;
        let (group, causal, window) = (geometry.group(), geometry.causal, geometry.window);
        Self { low, queries, first_key: 0, keys: 0, group, causal, window }
    }

    /// The same queries over keys `first..first + keys`.
    pub fn over(self, first: usize, keys: usize) -> Self {
        Self { first_key: first, keys, ..self }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.queries * self.group
    }

    /// Rows that see at least one of `keys` (relative to the first key); empty when none does.
    pub fn rows_of(&self, keys: Range<usize>) -> Range<usize> {
        let after = |position: usize| position.saturating_sub(self.low).min(self.queries) * self.group;
        let start = if self.causal { after(self.first_key + keys.start) } else { 0 };
        let end = if self.window > 0 { after(self.first_key + keys.end - 1 + self.window) } else { after(usize::MAX) };
        start.min(end)..end
    }

    /// Keys that at least one of `rows` sees, relative to the first key; empty when none is seen.
    pub fn keys_of(&self, rows: Range<usize>) -> Range<usize> {
        let (low, high) = (self.low + rows.start / self.group, self.low + (rows.end - 1) / self.group);
        let within = |position: usize| position.saturating_sub(self.first_key).min(self.keys);
        let start = if self.window > 0 { within((low + 1).saturating_sub(self.window)) } else { 0 };
        let end = if self.causal { within(high + 1) } else { self.keys };
        start.min(end)..end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_mask() {
        let segment = Segment { query: 0, queries: 40, position: 0, key: 0, keys: 40 };
        for (causal, window, group) in [(true, 0, 1), (true, 7, 2), (false, 5, 3), (false, 0, 2), (true, 1, 4)] {
            let geometry = Geometry { heads: group, kv_heads: 1, dim: 8, causal, window, scale: 1.0, softcap: 0.0 };
            let sees = |query: usize, key: usize| (!causal || key <= query) && (window == 0 || query < key + window);
            for (low, queries, first_key, keys) in [(0, 9, 0, 9), (5, 12, 3, 14), (20, 10, 2, 6), (3, 4, 20, 8)] {
                let seen = Seen::new(&geometry, &segment, low, queries).over(first_key, keys);
                for start in 0..keys {
                    for end in start + 1..=keys.min(start + 4) {
                        let found = seen.rows_of(start..end);
                        let rows = (0..queries * group)
                            .filter(|row| (start..end).any(|key| sees(low + row / group, first_key + key)));
                        for row in rows {
                            assert!(found.contains(&row), "row {row} sees keys {start}..{end}, {found:?}");
                        }
                        let tight = |row: usize| (start..end).any(|key| sees(low + row / group, first_key + key));
                        assert!(found.is_empty() || tight(found.start) && tight(found.end - 1), "{found:?}");
                    }
                }
                for start in 0..queries * group {
                    for end in start + 1..=(queries * group).min(start + 6) {
                        let found = seen.keys_of(start..end);
                        let tight = |key: usize| (start..end).any(|row| sees(low + row / group, first_key + key));
                        for key in (0..keys).filter(|key| tight(*key)) {
                            assert!(found.contains(&key), "key {key} is seen by rows {start}..{end}, {found:?}");
                        }
                        assert!(found.is_empty() || tight(found.start) && tight(found.end - 1), "{found:?}");
                    }
                }
            }
        }
    }
}
