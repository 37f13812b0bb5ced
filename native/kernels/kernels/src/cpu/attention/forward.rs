//! Attention forward: online softmax over key tiles (Dao, FlashAttention-2, arXiv 2307.08691, alg. 1).
//!
//! Scores are computed transposed, [keys, queries]: the query tile is transposed once per task, keys
//! are read where they lie, and the softmax over keys runs down columns without horizontal sums.

use super::micro::{Causal, Product};
use super::pack::{Head, Queries, Rows, Scratch, SoftCap, mask, pack_rows, panel_floats, round_line, take, widen_rows};
use super::plan::{Geometry, Segment, TILE_KEYS, Task};
use crate::cpu::simd::math::{exp2_nonpositive, log};
use crate::cpu::simd::{Kernel, Simd};
use std::f32::consts::{LN_2, LOG2_E};

/// Below any score, yet finite: the running maximum of a query that has seen no key.
pub const LOWEST: f32 = -1e30;

/// Computes one task.
pub struct Forward<'a> {
    /// Shape and masking.
    pub geometry: Geometry,
    /// The task's segment.
    pub segment: Segment,
    /// The task.
    pub task: Task,
    /// Queries [T, H, D].
    pub q: &'a [f32],
    /// Keys, rows of [KV, D].
    pub k: Rows<'a>,
    /// Values, rows of [KV, D].
    pub v: Rows<'a>,
    /// Output [T, H, D]; the task writes its own rows.
    pub o: *mut f32,
    /// Natural logarithm of the softmax denominators [T, H], where wanted.
    pub lse: Option<*mut f32>,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let geometry = self.geometry;
        let dim = geometry.dim;
        let rows = self.task.count * geometry.group();
        let padded = rows.next_multiple_of(S::LANES);
        let panels = rows.next_multiple_of(super::micro::panel_width::<S>());
        let wide = dim.next_multiple_of(S::LANES);
        let sizes = [
            panels * dim,
            TILE_KEYS * padded,
            panel_floats::<S>(dim, TILE_KEYS),
            padded * wide,
            padded,
            padded,
            padded,
            TILE_KEYS * dim,
        ];
        let mut memory = Scratch::take(sizes.iter().map(|size| round_line(*size)).sum());
        let mut scratch = memory.floats();
        let [query, scores, values, output, highest, total, alpha, keys] = sizes.map(|size| take(&mut scratch, size));
        // The softmax works in base 2: log₂e is part of the scale.
        let unit = if geometry.softcap > 0.0 { geometry.scale } else { geometry.scale * LOG2_E };
        self.queries().pack_transposed::<S>(&geometry, unit, query);
        highest.fill(LOWEST);
        total.fill(0.0);
        let low = self.segment.position + self.task.first;
        let (start, end) = geometry.visible(low, low + self.task.count - 1, self.segment.keys);
        let mut first = start;
        if start == end {
            output.fill(0.0);
        }
        while first < end {
            let count = TILE_KEYS.min(end - first);
            self.score(s, (first, count), padded, query, keys, scores);
            mask(&geometry, scores, padded, (low, self.task.count), (first, count), f32::NEG_INFINITY);
            s.call(Softmax { scores: &mut scores[..count * padded], padded, highest, total, alpha });
            if first > start {
                rescale(s, output, wide, &alpha[..rows]);
            }
            pack_rows(s, self.head(self.v), self.segment.key + first, count, values);
            // SAFETY: extents match the scratch sizes above.
            unsafe {
                Product {
                    m: rows,
                    n: wide,
                    k: count,
                    a: scores.as_ptr(),
                    a_row: 1,
                    a_column: padded,
                    b: values.as_ptr(),
                    panel: count * super::micro::panel_width::<S>(),
                    c: output.as_mut_ptr(),
                    c_row: wide,
                    accumulate: first > start,
                    causal: if geometry.causal {
                        Causal::QueriesByKeys { group: geometry.group(), offset: low as isize - first as isize }
                    } else {
                        Causal::Everything
                    },
                }
                .multiply(s);
            }
            first += count;
        }
        self.finish(s, output, wide, highest, total);
    }
}

impl Forward<'_> {
    fn queries(&self) -> Queries<'_> {
        Queries {
            values: self.q,
            token: self.segment.query + self.task.first,
            count: self.task.count,
            kv_head: self.task.kv_head,
        }
    }

    #[inline(always)]
    fn head<'b>(&self, rows: Rows<'b>) -> Head<'b> {
        let dim = self.geometry.dim;
        Head { rows, base: self.task.kv_head * dim, stride: self.geometry.kv_heads * dim, dim }
    }

    /// scores[key, row] = key · query for keys `first..first + count` of the segment; what the causal mask hides may be
    /// left as it is.
    #[inline(always)]
    fn score<S: Simd>(
        &self,
        s: S,
        (first, count): (usize, usize),
        padded: usize,
        query: &[f32],
        widened: &mut [f32],
        scores: &mut [f32],
    ) {
        let head = self.head(self.k);
        let row = self.segment.key + first;
        let low = self.segment.position + self.task.first;
        let dim = self.geometry.dim;
        // Rows of a head lie a page apart, where they share few sets of the nearest cache.
        widen_rows(s, head, row, count, widened);
        // SAFETY: A, B and C are scratch of matching size.
        unsafe {
            Product {
                m: count,
                n: padded,
                k: dim,
                a: widened.as_ptr(),
                a_row: dim,
                a_column: 1,
                b: query.as_ptr(),
                panel: dim * super::micro::panel_width::<S>(),
                c: scores.as_mut_ptr(),
                c_row: padded,
                accumulate: false,
                causal: if self.geometry.causal {
                    Causal::Scores { group: self.geometry.group(), offset: low as isize - first as isize }
                } else {
                    Causal::Everything
                },
            }
            .multiply(s);
        }
        if self.geometry.softcap > 0.0 {
            let scores = &mut scores[..count * padded];
            s.call(SoftCap { scores, cap: self.geometry.softcap });
            for value in scores {
                *value *= LOG2_E;
            }
        }
    }

    /// o = output / total, lse = ln total + highest.
    #[inline(always)]
    fn finish<S: Simd>(&self, s: S, output: &[f32], wide: usize, highest: &[f32], total: &mut [f32]) {
        let (queries, dim) = (self.queries(), self.geometry.dim);
        for row in 0..queries.rows(&self.geometry) {
            let start = queries.start(&self.geometry, row);
            // A query that sees no key gives zeros.
            let inverse = if total[row] == 0.0 { 0.0 } else { 1.0 / total[row] };
            let mut column = 0;
            while column < dim {
                let count = (dim - column).min(S::LANES);
                // SAFETY: rows of different tasks are disjoint parts of [T, H, D]; scratch rows are `wide`.
                unsafe {
                    let value = s.mul(s.load(output.as_ptr().add(row * wide + column)), s.splat(inverse));
                    let target = self.o.add(start + column);
                    if count == S::LANES { s.store(target, value) } else { s.store_part(target, count, value) }
                }
                column += S::LANES;
            }
        }
        if let Some(lse) = self.lse {
            let mut at = 0;
            while at < total.len() {
                // SAFETY: both hold whole vectors.
                unsafe {
                    let sum = s.load(total.as_ptr().add(at));
                    let high = s.load(highest.as_ptr().add(at));
                    s.store(total.as_mut_ptr().add(at), s.fma(high, s.splat(LN_2), log(s, sum)));
                }
                at += S::LANES;
            }
            for row in 0..queries.rows(&self.geometry) {
                // SAFETY: as for the output, one element per row of [T, H].
                unsafe { *lse.add(queries.start(&self.geometry, row) / dim) = total[row] };
            }
        }
    }
}

/// One step of the online softmax: scores become weights, running maxima and sums are updated.
struct Softmax<'a> {
    scores: &'a mut [f32],
    padded: usize,
    highest: &'a mut [f32],
    total: &'a mut [f32],
    alpha: &'a mut [f32],
}

impl Kernel for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let rows = self.scores.len() / self.padded;
        let mut column = 0;
        while column < self.padded {
            // SAFETY: all arrays hold `padded` (a multiple of LANES) columns; scores has `rows` of them.
            unsafe {
                let scores = self.scores.as_mut_ptr().add(column);
                let before = s.load(self.highest.as_ptr().add(column));
                let mut high = before;
                for row in 0..rows {
                    high = s.max(high, s.load(scores.add(row * self.padded)));
                }
                let alpha = exp2_nonpositive(s, s.sub(before, high));
                let mut sum = s.splat(0.0);
                for row in 0..rows {
                    let at = scores.add(row * self.padded);
                    let weight = exp2_nonpositive(s, s.sub(s.load(at), high));
                    s.store(at, weight);
                    sum = s.add(sum, weight);
                }
                let total = self.total.as_mut_ptr().add(column);
                s.store(total, s.fma(s.load(total), alpha, sum));
                s.store(self.highest.as_mut_ptr().add(column), high);
                s.store(self.alpha.as_mut_ptr().add(column), alpha);
            }
            column += S::LANES;
        }
    }
}

/// output[row] *= alpha[row], skipping rows whose maximum did not move.
#[inline(always)]
fn rescale<S: Simd>(s: S, output: &mut [f32], wide: usize, alpha: &[f32]) {
    for (row, factor) in alpha.iter().enumerate() {
        if *factor == 1.0 {
            continue;
        }
        let mut column = 0;
        while column < wide {
            // SAFETY: scratch rows hold `wide` (a multiple of LANES) elements.
            unsafe {
                let at = output.as_mut_ptr().add(row * wide + column);
                s.store(at, s.mul(s.load(at), s.splat(*factor)));
            }
            column += S::LANES;
        }
    }
}
