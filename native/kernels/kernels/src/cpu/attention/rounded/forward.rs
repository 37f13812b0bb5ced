//! One task of bf16 attention forward: a block of queries of one key-value head, keys in long runs (Dao,
//! FlashAttention-2, arXiv 2307.08691, alg. 1).
//!
//! The scores of a run wait in the second cache, so that most sequences need no second step of the online softmax and the
//! sums of P·V stay in registers from the first to the last key.

use super::super::pack::Rows as Stored;
use super::super::pack::SoftCap;
use super::super::plan::{Geometry, Segment, Task};
use super::ahead::Ahead;
use super::keys::Packed;
use super::pack::{BLOCK, Memory, SQUARE, TASK, line, pack_slabs, take, take_floats, write_rows};
use super::product::Block;
use super::rows::{Place, Rows, Written};
use super::sight::Sight;
use super::softmax::{Running, raise, weigh};
use crate::cpu::amx::Tiles;
use crate::cpu::isa::Isa;
use crate::cpu::simd::math::log;
use crate::cpu::simd::{Avx512, dispatch};
use std::arch::x86_64::*;
use std::f32::consts::{LN_2, LOG2_E};
use std::ops::Range;

/// Query rows of a task.
pub const ROWS: usize = 64;

/// Blocks of keys of a run.
const RUN: usize = 16;

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
}

/// Memory of a task.
struct Scratch<'a> {
    query: &'a mut [u32],
    weights: &'a mut [u32],
    scores: &'a mut [f32],
    output: &'a mut [f32],
    /// 16 lanes a row: maxima, then sums.
    lanes: &'a mut [f32],
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
        let words = [rows * wide / 2, run * rows * BLOCK / 2];
        let floats = [run * rows * BLOCK, rows * wide, 16 * rows, rows, rows, rows, rows];
        let mut memory = Memory::take(&TASK, words.iter().chain(&floats).map(|size| line(*size)).sum());
        let mut memory = memory.words();
        let [query, weights] = words.map(|size| take(&mut memory, size));
        let [scores, output, lanes, highest, shift, total, alpha] = floats.map(|size| take_floats(&mut memory, size));
        highest.fill(LOWEST);
        total.fill(0.0);
        let running = Running { highest, shift, total, alpha };
        let mut scratch = Scratch { query, weights, scores, output, lanes, running };
        // SAFETY: the slabs have the size that they were given above.
        unsafe { pack_slabs(Rows { values: self.q, place }, scratch.query.as_mut_ptr(), 16 * rows) };
        let mut ahead = Ahead::default();
        ahead.push(self.o.strip(&place));
        if let Some((segment, task)) = &self.next {
            ahead.push(Rows { values: self.q, place: self.place(segment, task) }.strip());
        }
        if blocks.is_empty() {
            scratch.output.fill(0.0);
        }
        // The softmax works in base 2; products are scaled there, where a maximum stays one.
        let unit = if is_plain(geometry) { geometry.scale * LOG2_E } else { LOG2_E };
        for first in blocks.clone().step_by(RUN) {
            let run = first..(first + RUN).min(blocks.end);
            // SAFETY: the instructions exist by contract; the scratch memory has room for a run.
            unsafe { self.run_of_keys(&sight, run, first > blocks.start, unit, &mut scratch, &mut ahead) };
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

    /// One step of the online softmax, for the blocks of keys `run`.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
    unsafe fn run_of_keys(
        &self,
        sight: &Sight,
        run: Range<usize>,
        is_later: bool,
        unit: f32,
        scratch: &mut Scratch<'_>,
        ahead: &mut Ahead,
    ) {
        let (geometry, head, tiles) = (&self.geometry, self.task.kv_head, self.tiles);
        let wide = geometry.dim.next_multiple_of(BLOCK);
        let row_blocks = sight.row_blocks();
        let rows = row_blocks * BLOCK;
        let wanted = |row_block: usize| (sight.rows - row_block * BLOCK).min(BLOCK);
        let place = |key_block: usize, row_block: usize| (key_block - run.start) * row_blocks + row_block;
        scratch.lanes.fill(f32::NEG_INFINITY);
        // SAFETY: blocks lie inside the scratch memory, which has room for a run, and inside the packed keys.
        unsafe {
            for key_block in run.clone() {
                for row_block in 0..row_blocks {
                    if !Self::part(sight, row_block, &run).contains(&key_block) {
                        continue;
                    }
                    let scores = scratch.scores.as_mut_ptr().add(place(key_block, row_block) * SQUARE);
                    Block {
                        steps: wide / 2,
                        a: scratch.query.as_ptr().add(row_block * 16 * BLOCK),
                        slab: 16 * rows,
                        b: self.k.columns(head, self.slot + key_block * BLOCK),
                        c: scores,
                        rows: wanted(row_block),
                        add: false,
                        tiles,
                    }
                    .multiply();
                    ahead.step();
                    if !is_plain(geometry) {
                        scale(std::slice::from_raw_parts_mut(scores, SQUARE), geometry);
                    }
                    let lanes = sight.lanes(row_block, key_block);
                    raise(scores, lanes.as_ref(), scratch.lanes.as_mut_ptr().add(row_block * 16 * BLOCK));
                }
            }
            scratch.running.step(scratch.lanes, unit);
            scratch.lanes.fill(0.0);
            for row_block in 0..row_blocks {
                for key_block in Self::part(sight, row_block, &run) {
                    let at = place(key_block, row_block);
                    weigh(
                        scratch.scores.as_ptr().add(at * SQUARE),
                        scratch.running.shift.as_ptr().add(row_block * BLOCK),
                        unit,
                        scratch.lanes.as_mut_ptr().add(row_block * 16 * BLOCK),
                        scratch.weights.as_mut_ptr().add(at * SQUARE / 2),
                    );
                }
            }
            scratch.running.add(scratch.lanes);
            if is_later {
                rescale(scratch.output, scratch.running.alpha);
            }
            for column in (0..wide).step_by(BLOCK) {
                for row_block in 0..row_blocks {
                    let part = Self::part(sight, row_block, &run);
                    if part.is_empty() && is_later {
                        continue;
                    }
                    Block {
                        steps: 16 * part.len(),
                        a: scratch.weights.as_ptr().add(place(part.start, row_block) * SQUARE / 2),
                        slab: 16 * rows,
                        b: self.v.pairs(head, self.slot + part.start * BLOCK, column),
                        c: scratch.output.as_mut_ptr().add(column * rows + row_block * SQUARE),
                        rows: wanted(row_block),
                        add: is_later,
                        tiles,
                    }
                    .multiply();
                    ahead.step();
                }
            }
        }
    }

    /// o = output / total, lse = ln total + highest.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn finish(&self, place: &Place, rows: usize, unit: f32, scratch: &mut Scratch<'_>) {
        let Running { highest, total, .. } = &mut scratch.running;
        // SAFETY: the token stands for the features of this function.
        let simd = unsafe { Avx512::new() };
        for at in (0..place.count).step_by(16) {
            // SAFETY: both hold whole vectors.
            unsafe {
                let sum = _mm512_loadu_ps(total.as_ptr().add(at));
                let high = _mm512_loadu_ps(highest.as_ptr().add(at));
                let lse = _mm512_fmadd_ps(high, _mm512_set1_ps(LN_2 * unit), log(simd, sum));
                _mm512_storeu_ps(highest.as_mut_ptr().add(at), lse);
                // A query that sees no key gives zeros.
                let some = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(sum, _mm512_setzero_ps());
                let inverse = _mm512_maskz_div_ps(some, _mm512_set1_ps(1.0), sum);
                _mm512_storeu_ps(total.as_mut_ptr().add(at), inverse);
            }
        }
        // SAFETY: rows of different tasks are disjoint parts of [T, H, D] and [T, H].
        unsafe {
            write_rows(place, scratch.output.as_ptr(), rows * BLOCK, total, self.o);
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

/// Rows of results in panels of 32 columns, times a factor per row.
///
/// # Safety
/// AVX-512 F exists.
#[target_feature(enable = "avx512f")]
unsafe fn rescale(output: &mut [f32], factors: &[f32]) {
    for panel in output.chunks_exact_mut(factors.len() * BLOCK) {
        for (row, factor) in panel.chunks_exact_mut(BLOCK).zip(factors) {
            if *factor != 1.0 {
                row.iter_mut().for_each(|value| *value *= factor);
            }
        }
    }
}
