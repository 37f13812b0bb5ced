//! One task of bf16 attention forward: a block of queries of one key-value head, keys in tiles (Dao,
//! FlashAttention-2, arXiv 2307.08691, alg. 1).
//!
//! Scores are computed transposed, [keys, rows], so that the softmax runs down columns without horizontal sums and
//! leaves the weights paired along the keys, which is the left operand of P·V.

use super::super::pack::{SoftCap, mask};
use super::super::plan::{Geometry, Segment, Task};
use super::ahead::Ahead;
use super::keys::Packed;
use super::pack::{Memory, Rows, TASK, line, pack_transposed, panels, row_words, take, take_floats, write_rows};
use super::seen::Seen;
use super::softmax::{Running, online_softmax};
use super::tile::{Inner, Left, PANEL, Product, Right, Update};
use crate::cpu::amx::Tiles;
use crate::cpu::isa::Isa;
use crate::cpu::simd::math::log;
use crate::cpu::simd::{Avx512, dispatch};
use std::arch::x86_64::*;
use std::f32::consts::{LN_2, LOG2_E};

/// Query rows of a block.
pub const ROWS: usize = 64;

/// Keys of a tile; even, and a multiple of the six rows of a register tile.
const KEYS: usize = 96;

/// Below any score, yet finite: the running maximum of a query that has seen no key.
const LOWEST: f32 = -1e30;

/// A task and its operands.
pub struct Forward<'a> {
    /// Shape and masking.
    pub geometry: Geometry,
    /// The task's segment.
    pub segment: Segment,
    /// The task.
    pub task: Task,
    /// Queries [T, H, D].
    pub q: &'a [f32],
    /// Keys, rows wanted.
    pub k: Packed,
    /// Values, pairs wanted.
    pub v: Packed,
    /// The task that this thread is likely to run next.
    pub next: Option<(Segment, Task)>,
    /// Output [T, H, D]; the task writes its own rows.
    pub o: *mut f32,
    /// Natural logarithm of the softmax denominators [T, H].
    pub lse: *mut f32,
    /// Whether to multiply with tile registers.
    pub tiles: bool,
}

impl Forward<'_> {
    fn queries(&self) -> Rows<'_> {
        self.queries_of(&self.segment, &self.task)
    }

    fn queries_of(&self, segment: &Segment, task: &Task) -> Rows<'_> {
        let (group, heads, dim) = (self.geometry.group(), self.geometry.heads, self.geometry.dim);
        let (token, count) = (segment.query + task.first, task.count * group);
        Rows { values: self.q, token, count, heads, head: task.kv_head * group, group, dim }
    }

    /// Runs the task.
    ///
    /// # Safety
    /// AVX-512 F, BW, DQ, VL and BF16 exist; output rows of this task are written by it alone.
    pub unsafe fn run(&self) {
        // SAFETY: the instruction set was detected.
        let _tiles = self.tiles.then(|| unsafe { Tiles::shape() });
        let (geometry, queries) = (&self.geometry, self.queries());
        let (dim, rows, head) = (geometry.dim, queries.count, self.task.kv_head);
        let (padded, wide) = (rows.next_multiple_of(16), dim.next_multiple_of(16));
        let steps = dim.div_ceil(2);
        let sizes = [
            panels(rows) * steps * PANEL,
            rows * row_words(dim),
            KEYS * padded,
            KEYS / 2 * padded,
            padded * wide,
            padded,
            padded,
            padded,
        ];
        let mut memory = Memory::take(&TASK, sizes.iter().map(|size| line(*size)).sum());
        let mut words = memory.words();
        let [query, stage, weights] = [sizes[0], sizes[1], sizes[3]].map(|size| take(&mut words, size));
        let [scores, output, highest, total, alpha] =
            [sizes[2], sizes[4], sizes[5], sizes[6], sizes[7]].map(|size| take_floats(&mut words, size));
        // The softmax works in base 2: log₂e is part of the scale.
        let unit = if geometry.softcap > 0.0 { geometry.scale } else { geometry.scale * LOG2_E };
        // SAFETY: the instructions exist by contract; extents are those of the sizes above.
        unsafe { pack_transposed(queries, unit, query, stage) };
        let mut ahead = Ahead::default();
        ahead.push(queries.strip(self.o));
        if let Some((segment, task)) = &self.next {
            ahead.push(self.queries_of(segment, task).strip(self.q.as_ptr()));
        }
        highest.fill(LOWEST);
        total.fill(0.0);
        let seen = Seen::new(geometry, &self.segment, self.task.first, self.task.count);
        let (start, end) = geometry.visible(seen.low, seen.low + seen.queries - 1, self.segment.keys);
        // Pairs of keys begin at even keys; the mask hides one too many.
        let start = start & !1;
        if start >= end {
            output.fill(0.0);
        }
        for first in (start..end).step_by(KEYS) {
            let keys = KEYS.min(end - first);
            let seen = seen.over(first, keys);
            let tile = &mut scores[..keys * padded];
            // SAFETY: as above; keys `first..first + keys` were rounded for this segment.
            unsafe {
                Product {
                    rows: 0..keys,
                    columns: padded,
                    inner: Inner::Head(dim),
                    seen: &seen,
                    left: self.k.rows(head, &self.segment, first),
                    right: Right { at: query.as_ptr(), panel: steps * PANEL },
                    target: tile.as_mut_ptr(),
                    stride: padded,
                    update: Update::Set,
                    tiles: self.tiles,
                }
                .multiply(&mut ahead);
            }
            if geometry.softcap > 0.0 {
                dispatch(Isa::Avx512Bf16, SoftCap { scores: tile, cap: geometry.softcap });
                for value in tile.iter_mut() {
                    *value *= LOG2_E;
                }
            }
            mask(geometry, tile, padded, (seen.low, seen.queries), (first, keys), f32::NEG_INFINITY);
            let mut running =
                Running { highest: &mut highest[..padded], total: &mut total[..padded], alpha: &mut alpha[..padded] };
            // SAFETY: as above.
            unsafe {
                online_softmax(tile, weights, &mut running);
                Product {
                    rows: 0..rows,
                    columns: wide,
                    inner: Inner::Keys,
                    seen: &seen,
                    left: Left { at: weights.as_ptr(), row: 1, step: padded },
                    right: self.v.pairs(head, self.task.segment, &self.segment, first),
                    target: output.as_mut_ptr(),
                    stride: wide,
                    update: if first > start { Update::Rescale(alpha.as_ptr()) } else { Update::Set },
                    tiles: self.tiles,
                }
                .multiply(&mut ahead);
            }
        }
        // SAFETY: as above.
        unsafe { self.finish(output, wide, highest, total) };
    }

    /// o = output / total, lse = ln total + highest.
    ///
    /// # Safety
    /// As [`Self::run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    unsafe fn finish(&self, output: &[f32], wide: usize, highest: &mut [f32], total: &mut [f32]) {
        let queries = self.queries();
        // SAFETY: the token stands for the features of this function.
        let simd = unsafe { Avx512::new() };
        for at in (0..queries.count).step_by(16) {
            // SAFETY: both hold whole vectors.
            unsafe {
                let sum = _mm512_loadu_ps(total.as_ptr().add(at));
                let high = _mm512_loadu_ps(highest.as_ptr().add(at));
                let lse = _mm512_fmadd_ps(high, _mm512_set1_ps(LN_2), log(simd, sum));
                _mm512_storeu_ps(highest.as_mut_ptr().add(at), lse);
                // A query that sees no key gives zeros.
                let some = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(sum, _mm512_setzero_ps());
                let inverse = _mm512_maskz_div_ps(some, _mm512_set1_ps(1.0), sum);
                _mm512_storeu_ps(total.as_mut_ptr().add(at), inverse);
            }
        }
        // SAFETY: rows of different tasks are disjoint parts of [T, H, D] and [T, H].
        unsafe {
            write_rows(queries, output, wide, total, self.o);
            for row in 0..queries.count {
                *self.lse.add(queries.start(row) / queries.dim) = highest[row];
            }
        }
    }
}
