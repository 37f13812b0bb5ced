//! What attention has to do: runs of queries over runs of keys, cut into tasks.

use crate::error::{KernelError, Result};

/// Query rows (positions × heads that share a key-value head) of one tile.
pub const TILE_QUERIES: usize = 64;

/// As [`TILE_QUERIES`], of a long sequence in forward: keys and values are packed half as often, and enough tasks remain.
const LONG_TILE_QUERIES: usize = 128;

/// Query rows from which a sequence counts as long.
const LONG_QUERIES: usize = 1024;

/// Keys of one tile. A multiple of the micro-kernel's six rows.
pub const TILE_KEYS: usize = 96;

/// Shape and masking of a call.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Query heads.
    pub heads: usize,
    /// Key-value heads.
    pub kv_heads: usize,
    /// Extent of a head.
    pub dim: usize,
    /// Keys after the query's own position are hidden.
    pub causal: bool,
    /// Keys `window` or more positions before the query are hidden; 0 shows all.
    pub window: usize,
    /// Factor of q·k.
    pub scale: f32,
    /// Scores become cap·tanh(score/cap); 0 leaves them.
    pub softcap: f32,
}

impl Geometry {
    /// Query heads per key-value head.
    pub fn group(&self) -> usize {
        self.heads / self.kv_heads
    }

    /// Positions per query tile.
    pub fn block(&self) -> usize {
        (TILE_QUERIES / self.group()).max(1)
    }

    /// Keys `first..end` that a run of query positions `low..=high` can see, of `len`.
    pub fn visible(&self, low: usize, high: usize, len: usize) -> (usize, usize) {
        let first = if self.window == 0 { 0 } else { (low + 1).saturating_sub(self.window) };
        let end = if self.causal { (high + 1).min(len) } else { len };
        (first.min(end), end)
    }
}

/// A run of consecutive queries and the keys of their sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// First query token.
    pub query: usize,
    /// Number of queries.
    pub queries: usize,
    /// Position of the first query among the keys.
    pub position: usize,
    /// First key row.
    pub key: usize,
    /// Number of key rows.
    pub keys: usize,
}

/// One segment per packed sequence.
///
/// # Errors
/// `ERR_INVALID_ARGUMENT` when the offsets do not ascend from 0 to `tokens`.
pub fn packed_segments(offsets: &[i32], tokens: usize) -> Result<Vec<Segment>> {
    let ascending = offsets.windows(2).all(|pair| pair[0] <= pair[1]);
    if offsets.first() != Some(&0) || offsets.last() != Some(&(tokens as i32)) || !ascending {
        return Err(KernelError::argument(
            "attention",
            format!("cuSeqlens must ascend from 0 to {tokens}, got {offsets:?}"),
        ));
    }
    let run = |pair: &[i32]| {
        let (start, len) = (pair[0] as usize, (pair[1] - pair[0]) as usize);
        Segment { query: start, queries: len, position: 0, key: start, keys: len }
    };
    Ok(offsets.windows(2).map(run).filter(|segment| segment.queries > 0).collect())
}

/// Runs of queries on consecutive positions of one cache sequence.
///
/// # Errors
/// `ERR_INDEX_OUT_OF_RANGE` for a slot or position outside the cache.
pub fn cached_segments(slots: &[i32], positions: &[i32], sequences: usize, capacity: usize) -> Result<Vec<Segment>> {
    check_cache(slots, positions, sequences, capacity)?;
    let mut segments: Vec<Segment> = Vec::new();
    for (token, (slot, position)) in slots.iter().zip(positions).enumerate() {
        let (slot, position) = (*slot as usize, *position as usize);
        if let Some(last) = segments.last_mut()
            && last.key == slot * capacity
            && last.position + last.queries == position
        {
            last.queries += 1;
            last.keys += 1;
            continue;
        }
        segments.push(Segment { query: token, queries: 1, position, key: slot * capacity, keys: position + 1 });
    }
    Ok(segments)
}

/// Checks slots and positions against a cache of `sequences` × `capacity`.
///
/// # Errors
/// `ERR_INDEX_OUT_OF_RANGE`.
pub fn check_cache(slots: &[i32], positions: &[i32], sequences: usize, capacity: usize) -> Result<()> {
    for (token, (slot, position)) in slots.iter().zip(positions).enumerate() {
        let inside = |value: i32, bound: usize| value >= 0 && (value as usize) < bound;
        if !inside(*slot, sequences) || !inside(*position, capacity) {
            return Err(KernelError::new(
                "ERR_INDEX_OUT_OF_RANGE",
                format!(
                    "token {token} addresses slot {slot}, position {position} of a cache of {sequences} × {capacity}"
                ),
            ));
        }
    }
    Ok(())
}

/// One unit of parallel work: a block of query positions of one segment under one key-value head.
#[derive(Clone, Copy, Debug)]
pub struct Task {
    /// Index of the segment.
    pub segment: usize,
    /// Key-value head.
    pub kv_head: usize,
    /// First query of the block, relative to the segment.
    pub first: usize,
    /// Queries in the block.
    pub count: usize,
}

/// Cuts segments into tasks, most work first (ties in program order).
pub fn tasks(geometry: &Geometry, segments: &[Segment]) -> Vec<Task> {
    let group = geometry.group();
    cut(geometry, segments, |segment| {
        let long = segment.queries * group >= LONG_QUERIES;
        if long { (LONG_TILE_QUERIES / group).max(1) } else { geometry.block() }
    })
}

/// As [`tasks`], with blocks of `block` queries.
#[cfg(target_arch = "x86_64")]
pub fn tasks_of(geometry: &Geometry, segments: &[Segment], block: usize) -> Vec<Task> {
    cut(geometry, segments, |_| block)
}

fn cut(geometry: &Geometry, segments: &[Segment], block_of: impl Fn(&Segment) -> usize) -> Vec<Task> {
    let mut tasks = Vec::new();
    for (index, segment) in segments.iter().enumerate() {
        let block = block_of(segment);
        for first in (0..segment.queries).step_by(block) {
            let count = block.min(segment.queries - first);
            let low = segment.position + first;
            let (start, end) = geometry.visible(low, low + count - 1, segment.keys);
            for kv_head in 0..geometry.kv_heads {
                tasks.push(((end - start) * count, Task { segment: index, kv_head, first, count }));
            }
        }
    }
    tasks.sort_by_key(|(work, _)| std::cmp::Reverse(*work));
    tasks.into_iter().map(|(_, task)| task).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_cached_queries_become_one_segment() {
        let segments = cached_segments(&[1, 1, 1, 0, 1], &[4, 5, 6, 0, 7], 2, 8).unwrap();
        assert_eq!(segments.len(), 3);
        assert_eq!(segments[0], Segment { query: 0, queries: 3, position: 4, key: 8, keys: 7 });
        assert_eq!(segments[2], Segment { query: 4, queries: 1, position: 7, key: 8, keys: 8 });
        assert_eq!(cached_segments(&[2], &[0], 2, 8).unwrap_err().code, "ERR_INDEX_OUT_OF_RANGE");
    }

    #[test]
    fn offsets_must_ascend_to_the_token_count() {
        assert_eq!(packed_segments(&[0, 3, 3, 5], 5).unwrap().len(), 2);
        for offsets in [&[0, 4][..], &[1, 5], &[0, 4, 3, 5], &[]] {
            assert_eq!(packed_segments(offsets, 5).unwrap_err().code, "ERR_INVALID_ARGUMENT");
        }
    }
}
