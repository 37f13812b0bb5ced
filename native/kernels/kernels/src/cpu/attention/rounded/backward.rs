//! One task of bf16 attention backward: a share of the query blocks of one key-value head (FlashAttention-2,
//! arXiv 2307.08691, alg. 2), a run of keys after the other. The order of sums depends on shapes only.
//!
//! The gradients of a run's keys and values stay in the second cache, turned (a column per key), because their left
//! operands, queries and output gradients, then are turned once per block of queries and the weights never.

use super::super::pack::Rows as Stored;
use super::super::plan::{Geometry, Segment};
use super::ahead::Ahead;
use super::forward::scale;
use super::keys::Packed;
use super::pack::{
    BLOCK, Memory, SQUARE, TASK, line, pack_slabs, pack_turned_pairs, row_dots, take, take_floats, write_rows,
    write_turned,
};
use super::product::Block;
use super::rows::{Place, Rows, Written};
use super::sight::Sight;
use super::softmax::{Gradients, Slope, differentiate};
use crate::cpu::amx::Tiles;
use std::f32::consts::LOG2_E;
use std::ops::Range;

/// Query rows of a block, at most.
pub const ROWS: usize = 256;

/// Blocks of keys of a run.
const RUN: usize = 16;

/// A task and its operands.
pub struct Backward<'a> {
    /// Shape and masking.
    pub geometry: Geometry,
    /// The segment.
    pub segment: Segment,
    /// Its first slot among the packed keys.
    pub slot: usize,
    /// Key-value head.
    pub kv_head: usize,
    /// Queries of a block.
    pub block: usize,
    /// Share of the query blocks: block b belongs to share b mod shares.
    pub share: usize,
    /// Number of shares.
    pub shares: usize,
    /// Queries [T, H, D].
    pub q: Stored<'a>,
    /// Keys, columns and pairs wanted.
    pub k: Packed,
    /// Values, columns wanted.
    pub v: Packed,
    /// Outputs [T, H, D].
    pub o: Stored<'a>,
    /// Output gradient [T, H, D].
    pub do_: Stored<'a>,
    /// Saved denominators [T, H].
    pub lse: &'a [f32],
    /// Query gradient [T, H, D].
    pub dq: Written,
    /// Where the gradients of keys and values go.
    pub sums: Sums,
    /// Whether to multiply with tile registers.
    pub tiles: bool,
}

/// Where a task leaves the gradients of keys and values.
#[derive(Clone, Copy)]
pub enum Sums {
    /// In the tensors dK and dV [T, KV, D].
    Rows(Written, Written),
    /// As sums of this share, for each block of keys those of [`block_floats`].
    Blocks(*mut f32),
}

/// Floats of a block of keys' sums: dK, then dV, an element's 32 keys after the other's.
pub fn block_floats(dim: usize) -> usize {
    2 * dim.next_multiple_of(BLOCK) * BLOCK
}

/// Writes the rows of dK and dV of the block `key_block` of a segment.
///
/// # Safety
/// AVX-512 F, BW, VL and BF16 exist, `sums` is as [`block_floats`] says and the rows are writable.
pub unsafe fn write_keys(
    geometry: &Geometry,
    segment: &Segment,
    (kv_head, key_block): (usize, usize),
    sums: *const f32,
    (dk, dv): (Written, Written),
) {
    let first = key_block * BLOCK;
    let (token, count) = (segment.key + first, BLOCK.min(segment.keys - first));
    let place = Place { token, count, heads: geometry.kv_heads, head: kv_head, group: 1, dim: geometry.dim };
    // SAFETY: by the caller.
    unsafe {
        write_turned(&place, sums, geometry.scale, dk);
        write_turned(&place, sums.add(block_floats(geometry.dim) / 2), 1.0, dv);
    }
}

/// Memory of a task.
struct Scratch<'a> {
    query: &'a mut [u32],
    gradient: &'a mut [u32],
    turned_query: &'a mut [u32],
    turned_gradient: &'a mut [u32],
    /// Weights and slopes of one block of keys, pairs of rows.
    weights: &'a mut [u32],
    slopes: &'a mut [u32],
    /// Slopes of a run, pairs of keys.
    rows: &'a mut [u32],
    /// Two blocks of scores and of their gradients.
    scores: &'a mut [f32],
    lse: &'a mut [f32],
    delta: &'a mut [f32],
    /// Gradients of the queries: of one block, or of all of the share when keys come in several runs.
    dq: &'a mut [f32],
    sums: *mut f32,
    ahead: Ahead,
}

impl Backward<'_> {
    fn place(&self, first: usize, count: usize) -> Place {
        let (group, heads, dim) = (self.geometry.group(), self.geometry.heads, self.geometry.dim);
        let (token, count) = (self.segment.query + first, count * group);
        Place { token, count, heads, head: self.kv_head * group, group, dim }
    }

    /// Queries of the block that begins at `first`.
    fn count(&self, first: usize) -> usize {
        self.block.min(self.segment.queries.saturating_sub(first))
    }

    fn wide(&self) -> usize {
        self.geometry.dim.next_multiple_of(BLOCK)
    }

    /// Runs the task; the gradients of every key of the segment are written.
    ///
    /// # Safety
    /// AVX-512 F, BW, DQ, VL and BF16 exist; the gradients and the query rows of this share are written by this task
    /// alone.
    pub unsafe fn run(&self) {
        // SAFETY: the instruction set was detected.
        let _tiles = self.tiles.then(|| unsafe { Tiles::shape() });
        let wide = self.wide();
        let rows = (self.block.min(self.segment.queries) * self.geometry.group()).next_multiple_of(BLOCK);
        let key_blocks = self.segment.keys.div_ceil(BLOCK);
        let run = RUN.min(key_blocks);
        let indices = || (self.share..self.segment.queries.div_ceil(self.block)).step_by(self.shares);
        let kept = if key_blocks > RUN { indices().count() } else { 1 };
        let sums = if matches!(self.sums, Sums::Rows(..)) { run * block_floats(self.geometry.dim) } else { 0 };
        let operand = rows * wide / 2;
        let words = [operand, operand, operand, operand, rows * BLOCK / 2, rows * BLOCK / 2, run * rows * BLOCK / 2];
        let floats = [2 * SQUARE, rows, rows, kept * rows * wide, sums];
        let mut memory = Memory::take(&TASK, words.iter().chain(&floats).map(|size| line(*size)).sum());
        let mut memory = memory.words();
        let [query, gradient, turned_query, turned_gradient, weights, slopes, slabs] =
            words.map(|size| take(&mut memory, size));
        let [scores, lse, delta, dq, own] = floats.map(|size| take_floats(&mut memory, size));
        let mut scratch = Scratch {
            query,
            gradient,
            turned_query,
            turned_gradient,
            weights,
            slopes,
            rows: slabs,
            scores,
            lse,
            delta,
            dq,
            sums: own.as_mut_ptr(),
            ahead: Ahead::default(),
        };
        for start in (0..key_blocks).step_by(RUN) {
            let run = start..(start + RUN).min(key_blocks);
            if let Sums::Blocks(at) = self.sums {
                scratch.sums = at.wrapping_add(start * block_floats(self.geometry.dim));
            }
            let mut written = 0u32;
            for (number, index) in indices().enumerate() {
                let first = index * self.block;
                let at = if kept > 1 { number * rows * wide } else { 0 };
                // SAFETY: by the caller.
                unsafe { self.query_block(first, run.clone(), at, &mut scratch, &mut written) };
            }
            // SAFETY: by the caller.
            unsafe { self.finish(run, &scratch, written) };
        }
    }

    /// Writes the gradients of a run's keys; those whose bits in `written` are not set are zero.
    ///
    /// # Safety
    /// As [`Self::run`].
    unsafe fn finish(&self, run: Range<usize>, scratch: &Scratch<'_>, written: u32) {
        let size = block_floats(self.geometry.dim);
        for key_block in run.clone() {
            let at = scratch.sums.wrapping_add((key_block - run.start) * size);
            // SAFETY: by the caller.
            unsafe {
                if written >> (key_block - run.start) & 1 == 0 {
                    at.write_bytes(0, size);
                }
                if let Sums::Rows(dk, dv) = self.sums {
                    write_keys(&self.geometry, &self.segment, (self.kv_head, key_block), at, (dk, dv));
                }
            }
        }
    }

    /// The block of queries from `first` on with the keys of a run; its own gradient is at `dq_at` of the scratch
    /// memory.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn query_block(
        &self,
        first: usize,
        run: Range<usize>,
        dq_at: usize,
        scratch: &mut Scratch<'_>,
        written: &mut u32,
    ) {
        let geometry = &self.geometry;
        let count = self.count(first);
        let sight = Sight::new(geometry, &self.segment, first, count);
        let seen = sight.all_key_blocks();
        let part = seen.start.clamp(run.start, run.end)..seen.end.clamp(run.start, run.end);
        if part.start >= part.end && !(seen.is_empty() && run.start == 0) {
            return;
        }
        let place = self.place(first, count);
        let rows = place.count.next_multiple_of(BLOCK);
        let (query, gradient) = (Rows { values: self.q, place }, Rows { values: self.do_, place });
        scratch.ahead.clear();
        scratch.ahead.push(self.dq.strip(&place));
        let next = first + self.block * self.shares;
        for values in [self.q, self.do_, self.o] {
            scratch.ahead.push(Rows { values, place: self.place(next, self.count(next)) }.strip());
        }
        scratch.lse.fill(0.0);
        scratch.delta.fill(0.0);
        // SAFETY: the instructions exist; the scratch memory was sized for a block.
        unsafe {
            pack_slabs(query, scratch.query.as_mut_ptr());
            pack_slabs(gradient, scratch.gradient.as_mut_ptr());
            pack_turned_pairs(query, scratch.turned_query.as_mut_ptr());
            pack_turned_pairs(gradient, scratch.turned_gradient.as_mut_ptr());
            row_dots(gradient, Rows { values: self.o, place }, scratch.delta);
        }
        for row in 0..place.count {
            scratch.lse[row] = self.lse[place.start(row) / place.dim] * LOG2_E;
        }
        for key_block in part.clone() {
            let bit = 1 << (key_block - run.start);
            // SAFETY: by the caller.
            unsafe { self.key_block(&sight, key_block, &run, *written & bit != 0, rows, scratch) };
            *written |= bit;
        }
        // SAFETY: the slopes of the run's blocks were written above, where a row of them sees the keys.
        unsafe { self.query_gradient(&sight, &run, seen.start >= run.start, rows, dq_at, scratch) };
        if seen.end <= run.end {
            scratch.delta.fill(geometry.scale);
            // SAFETY: query rows of different tasks are disjoint.
            unsafe { write_rows(&place, scratch.dq.as_ptr().add(dq_at), rows * BLOCK, scratch.delta, self.dq, false) };
        }
    }

    /// Weights and slopes of a block of keys with all rows, and what they add to the keys' gradients.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn key_block(
        &self,
        sight: &Sight,
        key_block: usize,
        run: &Range<usize>,
        add: bool,
        rows: usize,
        scratch: &mut Scratch<'_>,
    ) {
        let (geometry, wide, head) = (&self.geometry, self.wide(), self.kv_head);
        let slot = self.slot + key_block * BLOCK;
        let row_blocks = sight.row_blocks_of(key_block);
        let is_capped = geometry.softcap > 0.0;
        let unit = if is_capped { LOG2_E } else { geometry.scale * LOG2_E };
        let scores = scratch.scores.as_mut_ptr();
        // SAFETY: blocks lie inside the scratch memory and the packed keys; sums of this run are this task's.
        unsafe {
            let gradients = scores.add(SQUARE);
            for row_block in row_blocks.clone() {
                let left = row_block * 16 * wide;
                let product = Block {
                    steps: wide / 2,
                    a: scratch.query.as_ptr().add(left),
                    slab: 16 * BLOCK,
                    b: self.k.columns(head, slot),
                    c: scores,
                    // Rows beyond the last as well: their weights meet zeros and must be finite.
                    rows: BLOCK,
                    add: false,
                    tiles: self.tiles,
                };
                product.multiply();
                let a = scratch.gradient.as_ptr().add(left);
                Block { a, b: self.v.columns(head, slot), c: gradients, ..product }.multiply();
                scratch.ahead.step();
                if is_capped {
                    scale(std::slice::from_raw_parts_mut(scores, SQUARE), geometry);
                }
                let lanes = sight.lanes(row_block, key_block);
                let slope = Slope {
                    scores,
                    gradients,
                    lse: scratch.lse.as_ptr().add(row_block * BLOCK),
                    delta: scratch.delta.as_ptr().add(row_block * BLOCK),
                    unit,
                    softcap: geometry.softcap,
                    lanes: lanes.as_ref(),
                };
                let target = Gradients {
                    weights: scratch.weights.as_mut_ptr().add(row_block * SQUARE / 2),
                    slopes: scratch.slopes.as_mut_ptr().add(row_block * SQUARE / 2),
                    rows: scratch.rows.as_mut_ptr().add((key_block - run.start) * 16 * rows + row_block * 16 * BLOCK),
                };
                differentiate(&slope, &target);
            }
            let dk = scratch.sums.add((key_block - run.start) * block_floats(geometry.dim));
            let dv = dk.add(wide * BLOCK);
            for (left, right, sums) in
                [(&*scratch.turned_query, &*scratch.slopes, dk), (&*scratch.turned_gradient, &*scratch.weights, dv)]
            {
                for element in (0..wide).step_by(BLOCK) {
                    Block {
                        steps: 16 * row_blocks.len(),
                        a: left.as_ptr().add(element * rows / 2 + row_blocks.start * 16 * BLOCK),
                        slab: 16 * BLOCK,
                        b: right.as_ptr().add(row_blocks.start * SQUARE / 2),
                        c: sums.add(element * BLOCK),
                        rows: BLOCK,
                        add,
                        tiles: self.tiles,
                    }
                    .multiply();
                    scratch.ahead.step();
                }
            }
        }
    }

    /// The gradient of a block of queries over the keys of a run.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn query_gradient(
        &self,
        sight: &Sight,
        run: &Range<usize>,
        is_first: bool,
        rows: usize,
        dq_at: usize,
        scratch: &mut Scratch<'_>,
    ) {
        for column in (0..self.wide()).step_by(BLOCK) {
            for row_block in 0..sight.row_blocks() {
                let seen = sight.key_blocks(row_block);
                let start = seen.start.clamp(run.start, run.end);
                let end = seen.end.clamp(start, run.end);
                if start == end && !is_first {
                    continue;
                }
                // SAFETY: blocks lie inside the scratch memory and the packed keys.
                unsafe {
                    Block {
                        steps: 16 * (end - start),
                        a: scratch.rows.as_ptr().add((start - run.start) * 16 * rows + row_block * 16 * BLOCK),
                        slab: 16 * rows,
                        b: self.k.pairs(self.kv_head, self.slot + start * BLOCK, column),
                        c: scratch.dq.as_mut_ptr().add(dq_at + column * rows + row_block * SQUARE),
                        rows: (sight.rows - row_block * BLOCK).min(BLOCK),
                        add: !is_first,
                        tiles: self.tiles,
                    }
                    .multiply();
                }
                scratch.ahead.step();
            }
        }
    }
}
