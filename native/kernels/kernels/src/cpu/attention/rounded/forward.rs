//! One task of bf16 attention forward: a block of queries of one key-value head, keys in long runs (Dao,
//! FlashAttention-2, arXiv 2307.08691, alg. 1).
//!
//! A block of scores becomes weights while it is in the first cache. Weights are relative to a maximum that is raised
//! only where a weight would exceed 2^16: their floating point does not mind, and what was summed is rescaled a few
//! times per row instead of once per block.

use super::super::pack::Rows as Stored;
use super::super::pack::SoftCap;
use super::super::plan::{Geometry, Segment, Task};
use super::ahead::Ahead;
use super::keys::Packed;
use super::pack::{BLOCK, Memory, SQUARE, TASK, line, pack_slabs, take, take_floats, write_rows};
use super::product::Block;
use super::rows::{Place, Rows, Written};
use super::sight::Sight;
use super::softmax::{Running, add_across, exceeds, weigh};
use crate::cpu::amx::Tiles;
use crate::cpu::isa::Isa;
use crate::cpu::simd::math::log;
use crate::cpu::simd::{Avx512, dispatch};
use std::arch::x86_64::*;
use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

/// Query rows of a task.
pub const ROWS: usize = 64;

/// As [`ROWS`], where one thread works through all queries of a head.
pub const ROWS_IN_TURN: usize = 128;

/// Blocks of keys whose weights are kept until they meet their values.
const RUN: usize = 8;

/// Below any score, yet finite: the running maximum of a query that has seen no key.
const LOWEST: f32 = -1e30;

/// A task and its operands.
pub struct Forward<'a> {
    /// Shape and masking.
    pub geometry: Geometry,
    /// The task's segment.
    pub segment: Segment,
    /// The segment's first slot among the packed keys.
    pub slot: usize,
    /// The task.
    pub task: Task,
    /// Queries [T, H, D].
    pub q: Stored<'a>,
    /// Keys, columns wanted.
    pub k: Packed,
    /// Values, pairs wanted.
    pub v: Packed,
    /// The task that this thread is likely to run next.
    pub next: Option<(Segment, Task)>,
    /// Output [T, H, D]; the task writes its own rows.
    pub o: Written,
    /// Natural logarithm of the softmax denominators [T, H].
    pub lse: *mut f32,
    /// Whether to multiply with tile registers.
    pub tiles: bool,
    /// Whether to write past the caches.
    pub streams: bool,
}

/// Memory of a task.
struct Scratch<'a> {
    query: &'a mut [u32],
    /// Weights of a run.
    weights: &'a mut [u32],
    /// Per block of rows, the key block from which on weights have not met their values.
    waiting: &'a mut [u32],
    /// Per block of rows, whether its sums hold anything.
    begun: &'a mut [u32],
    /// One block.
    scores: &'a mut [f32],
    output: &'a mut [f32],
    running: Running<'a>,
}

impl Forward<'_> {
    fn place(&self, segment: &Segment, task: &Task) -> Place {
        let (group, heads, dim) = (self.geometry.group(), self.geometry.heads, self.geometry.dim);
        let (token, count) = (segment.query + task.first, task.count * group);
        Place { token, count, heads, head: task.kv_head * group, group, dim }
    }

    /// Runs the task.
    ///
    /// # Safety
    /// AVX-512 F, BW, DQ, VL and BF16 exist; output rows of this task are written by it alone.
    pub unsafe fn run(&self) {
        // SAFETY: the instruction set was detected.
        let _tiles = self.tiles.then(|| unsafe { Tiles::shape() });
        let geometry = &self.geometry;
        let place = self.place(&self.segment, &self.task);
        let (rows, wide) = (place.count.next_multiple_of(BLOCK), geometry.dim.next_multiple_of(BLOCK));
        let sight = Sight::new(geometry, &self.segment, self.task.first, self.task.count);
        let blocks = sight.all_key_blocks();
        let run = RUN.min(blocks.len().max(1));
        let words = [rows * wide / 2, run * rows * BLOCK / 2, rows / BLOCK, rows / BLOCK];
        let floats = [SQUARE, rows * wide, 16 * rows, rows, rows, rows];
        let mut memory = Memory::take(&TASK, words.iter().chain(&floats).map(|size| line(*size)).sum());
        let mut memory = memory.words();
        let [query, weights, waiting, begun] = words.map(|size| take(&mut memory, size));
        let [scores, output, total, highest, shift, limit] = floats.map(|size| take_floats(&mut memory, size));
        highest.fill(LOWEST);
        shift.fill(LOWEST);
        limit.fill(LOWEST);
        total.fill(0.0);
        begun.fill(0);
        let running = Running { total, highest, shift, limit };
        let mut scratch = Scratch { query, weights, waiting, begun, scores, output, running };
        // SAFETY: the slabs have the size that they were given above.
        unsafe { pack_slabs(Rows { values: self.q, place }, scratch.query.as_mut_ptr()) };
        let mut ahead = Ahead::default();
        if !self.streams {
            ahead.push(self.o.strip(&place));
        }
        if let Some((segment, task)) = &self.next {
            ahead.push(Rows { values: self.q, place: self.place(segment, task) }.strip());
        }
        // The softmax works in base 2; products are scaled there, where a maximum stays one.
        let unit = if is_plain(geometry) { geometry.scale * LOG2_E } else { LOG2_E };
        for first in blocks.clone().step_by(RUN) {
            let run = first..(first + RUN).min(blocks.end);
            // SAFETY: the instructions exist by contract; the scratch memory has room for a run.
            unsafe { self.run_of_keys(&sight, run, unit, &mut scratch, &mut ahead) };
        }
        // SAFETY: as above.
        unsafe { self.finish(&place, rows, unit, &mut scratch) };
    }

    /// Blocks of keys that the mask leaves of a run for a block of rows.
    fn part(sight: &Sight, row_block: usize, run: &Range<usize>) -> Range<usize> {
        let seen = sight.key_blocks(row_block);
        let start = seen.start.clamp(run.start, run.end);
        start..seen.end.clamp(start, run.end)
    }

    /// The blocks of keys `run`.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn run_of_keys(
        &self,
        sight: &Sight,
        run: Range<usize>,
        unit: f32,
        scratch: &mut Scratch<'_>,
        ahead: &mut Ahead,
    ) {
        let (geometry, wide) = (&self.geometry, self.geometry.dim.next_multiple_of(BLOCK));
        let row_blocks = sight.row_blocks();
        for row_block in 0..row_blocks {
            scratch.waiting[row_block] = Self::part(sight, row_block, &run).start as u32;
        }
        // SAFETY: blocks lie inside the scratch memory, which has room for a run, and inside the packed keys.
        unsafe {
            for key_block in run.clone() {
                for row_block in 0..row_blocks {
                    if !Self::part(sight, row_block, &run).contains(&key_block) {
                        continue;
                    }
                    Block {
                        steps: wide / 2,
                        a: scratch.query.as_ptr().add(row_block * 16 * wide),
                        slab: 16 * BLOCK,
                        b: self.k.columns(self.task.kv_head, self.slot + key_block * BLOCK),
                        c: scratch.scores.as_mut_ptr(),
                        rows: BLOCK,
                        add: false,
                        tiles: self.tiles,
                    }
                    .multiply();
                    ahead.step();
                    if !is_plain(geometry) {
                        scale(&mut scratch.scores[..SQUARE], geometry);
                    }
                    let lanes = sight.lanes(row_block, key_block);
                    if exceeds(scratch.scores, lanes.as_ref(), &scratch.running.limit[row_block * BLOCK..]) {
                        self.multiply_waiting(row_block, key_block, &run, row_blocks, scratch);
                        let scores = &scratch.scores[..SQUARE];
                        let output = (scratch.begun[row_block] != 0).then_some(&mut *scratch.output);
                        scratch.running.raise(row_block, scores, unit, output);
                    }
                    let at = ((key_block - run.start) * row_blocks + row_block) * SQUARE / 2;
                    weigh(scratch.scores, row_block, unit, &mut scratch.running, scratch.weights.as_mut_ptr().add(at));
                }
            }
            for row_block in 0..row_blocks {
                let end = Self::part(sight, row_block, &run).end;
                self.multiply_waiting(row_block, end, &run, row_blocks, scratch);
                ahead.step();
                ahead.step();
            }
        }
    }

    /// Adds weights times values up to the block of keys `end`.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn multiply_waiting(
        &self,
        row_block: usize,
        end: usize,
        run: &Range<usize>,
        row_blocks: usize,
        scratch: &mut Scratch<'_>,
    ) {
        let start = scratch.waiting[row_block] as usize;
        if start >= end {
            return;
        }
        let add = scratch.begun[row_block] != 0;
        let rows = BLOCK * row_blocks;
        for column in (0..self.geometry.dim).step_by(BLOCK) {
            // SAFETY: blocks lie inside the scratch memory and the packed values.
            unsafe {
                Block {
                    steps: 16 * (end - start),
                    a: scratch.weights.as_ptr().add(((start - run.start) * row_blocks + row_block) * SQUARE / 2),
                    slab: 16 * rows,
                    b: self.v.pairs(self.task.kv_head, self.slot + start * BLOCK, column),
                    c: scratch.output.as_mut_ptr().add(column * rows + row_block * SQUARE),
                    rows: BLOCK,
                    add,
                    tiles: self.tiles,
                }
                .multiply();
            }
        }
        scratch.begun[row_block] = 1;
        scratch.waiting[row_block] = end as u32;
    }

    /// o = output / total, lse = ln total + highest.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn finish(&self, place: &Place, rows: usize, unit: f32, scratch: &mut Scratch<'_>) {
        for row_block in 0..rows / BLOCK {
            if scratch.begun[row_block] == 0 {
                for panel in scratch.output.chunks_exact_mut(rows * BLOCK) {
                    panel[row_block * SQUARE..][..SQUARE].fill(0.0);
                }
            }
        }
        let Running { highest, total, shift, .. } = &mut scratch.running;
        // SAFETY: the token stands for the features of this function.
        let simd = unsafe { Avx512::new() };
        for at in (0..place.count).step_by(16) {
            // SAFETY: both hold whole vectors.
            unsafe {
                let sum = add_across(total.as_ptr().add(16 * at));
                let high = _mm512_loadu_ps(highest.as_ptr().add(at));
                let lse = _mm512_fmadd_ps(high, _mm512_set1_ps(LN_2 * unit), log(simd, sum));
                _mm512_storeu_ps(highest.as_mut_ptr().add(at), lse);
                // A query that sees no key gives zeros.
                let some = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(sum, _mm512_setzero_ps());
                let inverse = _mm512_maskz_div_ps(some, _mm512_set1_ps(1.0), sum);
                _mm512_storeu_ps(shift.as_mut_ptr().add(at), inverse);
            }
        }
        // SAFETY: rows of different tasks are disjoint parts of [T, H, D] and [T, H].
        unsafe {
            write_rows(place, scratch.output.as_ptr(), rows * BLOCK, shift, self.o, self.streams);
            for row in 0..place.count {
                *self.lse.add(place.start(row) / place.dim) = highest[row];
            }
        }
    }
}

/// Whether products become scores in base 2 by a factor above 0.
fn is_plain(geometry: &Geometry) -> bool {
    geometry.softcap == 0.0 && geometry.scale > 0.0
}

/// Products become scores in natural units, capped where the call says so.
pub fn scale(scores: &mut [f32], geometry: &Geometry) {
    scores.iter_mut().for_each(|score| *score *= geometry.scale);
    if geometry.softcap > 0.0 {
        dispatch(Isa::Avx512Bf16, SoftCap { scores, cap: geometry.softcap });
    }
}
