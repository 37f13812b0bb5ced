//! One task of bf16 attention backward: a share of the query blocks of one key-value head (FlashAttention-2,
//! arXiv 2307.08691, alg. 2). The same shares and the same order of sums as in f32.

use super::super::pack::{SoftCap, mask};
use super::super::plan::{Geometry, Segment};
use super::ahead::Ahead;
use super::keys::Packed;
use super::pack::{
    Memory, Rows, TASK, line, pack_pairs, pack_transposed, panels, row_dots, row_words, take, take_floats, write_rows,
};
use super::seen::Seen;
use super::softmax::{Gradients, Saved, differentiate};
use super::tile::{Inner, Left, PANEL, Product, Right, Update};
use crate::cpu::amx::Tiles;
use crate::cpu::isa::Isa;
use crate::cpu::simd::dispatch;
use std::f32::consts::LOG2_E;
use std::ops::Range;

/// Query rows of a block.
pub const ROWS: usize = 128;

/// Keys of a tile; even, and a multiple of the six rows of a register tile.
const KEYS: usize = 96;

/// A task and its operands.
pub struct Backward<'a> {
    /// Shape and masking.
    pub geometry: Geometry,
    /// The segment.
    pub segment: Segment,
    /// Its index.
    pub index: usize,
    /// Key-value head.
    pub kv_head: usize,
    /// Share of the query blocks: block b belongs to share b mod shares.
    pub share: usize,
    /// Number of shares.
    pub shares: usize,
    /// Queries [T, H, D].
    pub q: &'a [f32],
    /// Keys, rows and pairs wanted.
    pub k: Packed,
    /// Values, rows wanted.
    pub v: Packed,
    /// Outputs [T, H, D].
    pub o: &'a [f32],
    /// Output gradient [T, H, D].
    pub do_: &'a [f32],
    /// Saved denominators [T, H].
    pub lse: &'a [f32],
    /// Query gradient [T, H, D].
    pub dq: *mut f32,
    /// Key gradient at the segment's first row of this head, with `stride` between rows.
    pub dk: *mut f32,
    /// Value gradient, as `dk`.
    pub dv: *mut f32,
    /// Row stride of `dk` and `dv`.
    pub stride: usize,
    /// Whether to multiply with tile registers.
    pub tiles: bool,
}

/// Query-side operands of one block.
struct Block<'a> {
    query_columns: &'a mut [u32],
    query_pairs: &'a mut [u32],
    output_columns: &'a mut [u32],
    output_pairs: &'a mut [u32],
    stage: &'a mut [u32],
    lse: &'a mut [f32],
    delta: &'a mut [f32],
    dq: &'a mut [f32],
}

/// What belongs to one pair of a query block and a key tile.
struct Pair<'a> {
    scores: &'a mut [f32],
    slopes: &'a mut [f32],
    weights: &'a mut [u32],
    rows: &'a mut [u32],
    pairs: &'a mut [u32],
}

/// How far a task is.
#[derive(Default)]
struct Progress {
    /// Memory needed soon.
    ahead: Ahead,
    /// Keys before this one have gradients; those of the others are whatever memory held.
    written: usize,
}

impl Backward<'_> {
    fn rows<'b>(&self, values: &'b [f32], first: usize, count: usize) -> Rows<'b> {
        let (group, heads, dim) = (self.geometry.group(), self.geometry.heads, self.geometry.dim);
        let (token, count) = (self.segment.query + first, count * group);
        Rows { values, token, count, heads, head: self.kv_head * group, group, dim }
    }

    /// Runs the task with blocks of `block` queries; writes `dk` and `dv` of every key of the segment.
    ///
    /// # Safety
    /// AVX-512 F, BW, DQ, VL and BF16 exist; `dk`, `dv` and the query rows of this share are written by this task
    /// alone.
    pub unsafe fn run(&self, block: usize) {
        // SAFETY: the instruction set was detected.
        let _tiles = self.tiles.then(|| unsafe { Tiles::shape() });
        let dim = self.geometry.dim;
        let rows = block.min(self.segment.queries) * self.geometry.group();
        let (padded, wide) = (rows.next_multiple_of(16), dim.next_multiple_of(16));
        let columns = panels(rows) * dim.div_ceil(2) * PANEL;
        let pairs = panels(dim) * rows.div_ceil(2) * PANEL;
        let tile = KEYS * padded;
        let words = [columns, pairs, columns, pairs, rows * row_words(dim), tile / 2, tile / 2, tile / 2];
        let floats = [padded, padded, padded * wide, tile, tile];
        let total = words.iter().chain(&floats).map(|size| line(*size)).sum();
        let mut memory = Memory::take(&TASK, total);
        let mut memory = memory.words();
        let [query_columns, query_pairs, output_columns, output_pairs, stage, weights, rows, pairs] =
            words.map(|size| take(&mut memory, size));
        let [lse, delta, dq, scores, slopes] = floats.map(|size| take_floats(&mut memory, size));
        let mut operands = Block { query_columns, query_pairs, output_columns, output_pairs, stage, lse, delta, dq };
        let mut pair = Pair { scores, slopes, weights, rows, pairs };
        let mut progress = Progress::default();
        for index in (self.share..self.segment.queries.div_ceil(block)).step_by(self.shares) {
            let count = |first: usize| block.min(self.segment.queries.saturating_sub(first));
            let (first, next) = (index * block, (index + self.shares) * block);
            progress.ahead.clear();
            progress.ahead.push(self.rows(self.q, first, count(first)).strip(self.dq));
            for values in [self.q, self.do_, self.o] {
                progress.ahead.push(self.rows(values, next, count(next)).strip(values.as_ptr()));
            }
            // SAFETY: by the caller.
            unsafe { self.query_block(first, count(first), &mut operands, &mut pair, &mut progress) };
        }
        // SAFETY: by the caller.
        unsafe { self.clear(progress.written..self.segment.keys) };
    }

    /// Zeroes the gradients of keys.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn clear(&self, keys: Range<usize>) {
        for key in keys {
            // SAFETY: rows of this task's gradients.
            unsafe {
                self.dk.add(key * self.stride).write_bytes(0, self.geometry.dim);
                self.dv.add(key * self.stride).write_bytes(0, self.geometry.dim);
            }
        }
    }

    /// # Safety
    /// As [`Self::run`].
    unsafe fn query_block(
        &self,
        first: usize,
        count: usize,
        block: &mut Block<'_>,
        pair: &mut Pair<'_>,
        progress: &mut Progress,
    ) {
        let geometry = &self.geometry;
        let (query, gradient) = (self.rows(self.q, first, count), self.rows(self.do_, first, count));
        let (rows, dim) = (query.count, geometry.dim);
        let (padded, wide) = (rows.next_multiple_of(16), dim.next_multiple_of(16));
        let unit = if geometry.softcap > 0.0 { geometry.scale } else { geometry.scale * LOG2_E };
        let panel = rows.div_ceil(2) * PANEL;
        block.lse.fill(0.0);
        block.delta.fill(0.0);
        // SAFETY: the instructions exist; the block's memory was sized for it.
        unsafe {
            pack_transposed(query, unit, block.query_columns, block.stage);
            pack_pairs(query, geometry.scale, block.query_pairs.as_mut_ptr(), panel);
            pack_transposed(gradient, 1.0, block.output_columns, block.stage);
            pack_pairs(gradient, 1.0, block.output_pairs.as_mut_ptr(), panel);
            row_dots(gradient, self.rows(self.o, first, count), block.delta);
        }
        for row in 0..rows {
            block.lse[row] = self.lse[query.start(row) / dim] * LOG2_E;
        }
        let seen = Seen::new(geometry, &self.segment, first, count);
        let (start, end) = geometry.visible(seen.low, seen.low + count - 1, self.segment.keys);
        // Pairs of keys begin at even keys; the mask hides one too many.
        let start = start & !1;
        if start >= end {
            block.dq.fill(0.0);
        }
        if start > progress.written {
            // SAFETY: by the caller.
            unsafe { self.clear(progress.written..start) };
            progress.written = start;
        }
        for key in (start..end).step_by(KEYS) {
            let seen = seen.over(key, KEYS.min(end - key));
            // SAFETY: by the caller.
            unsafe { self.key_tile(&seen, padded, key > start, block, pair, progress) };
            progress.written = progress.written.max(key + seen.keys);
        }
        block.delta.fill(geometry.scale);
        // SAFETY: query rows of different tasks are disjoint.
        unsafe { write_rows(query, block.dq, wide, block.delta, self.dq) };
    }

    /// # Safety
    /// As [`Self::run`].
    unsafe fn key_tile(
        &self,
        seen: &Seen,
        padded: usize,
        accumulate: bool,
        block: &mut Block<'_>,
        pair: &mut Pair<'_>,
        Progress { ahead, written }: &mut Progress,
    ) {
        let geometry = &self.geometry;
        let (dim, head, keys, rows) = (geometry.dim, self.kv_head, seen.keys, seen.rows());
        let wide = dim.next_multiple_of(16);
        let (used, half) = (keys * padded, padded / 2);
        let columns = dim.div_ceil(2) * PANEL;
        let (scores, slopes) = (&mut pair.scores[..used], &mut pair.slopes[..used]);
        let transposed = Product {
            rows: 0..keys,
            columns: padded,
            inner: Inner::Head(dim),
            seen,
            left: self.k.rows(head, &self.segment, seen.first_key),
            right: Right { at: block.query_columns.as_ptr(), panel: columns },
            target: scores.as_mut_ptr(),
            stride: padded,
            update: Update::Set,
            tiles: self.tiles,
        };
        // SAFETY: operands are this task's memory and the call's rounded keys, of matching sizes.
        unsafe {
            transposed.multiply(ahead);
            Product {
                left: self.v.rows(head, &self.segment, seen.first_key),
                right: Right { at: block.output_columns.as_ptr(), panel: columns },
                target: slopes.as_mut_ptr(),
                ..transposed
            }
            .multiply(ahead);
        }
        if geometry.softcap > 0.0 {
            dispatch(Isa::Avx512Bf16, SoftCap { scores, cap: geometry.softcap });
        }
        mask(geometry, scores, padded, (seen.low, seen.queries), (seen.first_key, keys), f32::NEG_INFINITY);
        // Slopes of hidden scores were not computed: what memory held must not meet a weight of 0 as a NaN.
        mask(geometry, slopes, padded, (seen.low, seen.queries), (seen.first_key, keys), 0.0);
        let saved = Saved { lse: &block.lse[..padded], delta: &block.delta[..padded], softcap: geometry.softcap };
        let mut gradients = Gradients { weights: pair.weights, rows: pair.rows, pairs: pair.pairs };
        // SAFETY: as above; `dv` and `dk` of this segment and head are this task's.
        unsafe {
            differentiate(scores, slopes, &saved, &mut gradients);
            for (left, right, target) in [
                (pair.weights.as_ptr(), block.output_pairs.as_ptr(), self.dv),
                (pair.rows.as_ptr(), block.query_pairs.as_ptr(), self.dk),
            ] {
                let right = Right { at: right, panel: rows.div_ceil(2) * PANEL };
                // Keys that earlier blocks saw, then those that this one is the first to see.
                let old = written.saturating_sub(seen.first_key).min(keys);
                for (part, update) in [(0..old, Update::Add), (old..keys, Update::Set)] {
                    Product {
                        rows: part,
                        columns: dim,
                        inner: Inner::Queries,
                        seen,
                        left: Left { at: left, row: half, step: 1 },
                        right,
                        target: target.add(seen.first_key * self.stride),
                        stride: self.stride,
                        update,
                        tiles: self.tiles,
                    }
                    .multiply(ahead);
                }
            }
            Product {
                rows: 0..rows,
                columns: wide,
                inner: Inner::Keys,
                seen,
                left: Left { at: pair.pairs.as_ptr(), row: 1, step: padded },
                right: self.k.pairs(head, self.index, &self.segment, seen.first_key),
                target: block.dq.as_mut_ptr(),
                stride: wide,
                update: if accumulate { Update::Add } else { Update::Set },
                tiles: self.tiles,
            }
            .multiply(ahead);
        }
    }
}
