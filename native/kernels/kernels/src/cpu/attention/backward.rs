//! Attention backward from saved outputs and denominators (FlashAttention-2, arXiv 2307.08691, alg. 2).
//!
//! A task owns a key-value head of a sequence, or a fixed share of its query blocks with gradients of
//! its own that are added in order afterwards: no atomics, and the same bits for the same shapes.

use super::micro::{Causal, Product, panel_width};
use super::pack::{Head, Queries, Rows, Scratch, SoftCap, mask, pack_rows, panel_floats, round_line, take, widen_rows};
use super::plan::{Geometry, Segment, TILE_KEYS};
use crate::cpu::simd::math::exp2_nonpositive;
use crate::cpu::simd::{Kernel, Simd};
use std::f32::consts::LOG2_E;

/// Computes one share of one key-value head of one segment.
pub struct Backward<'a> {
    /// Shape and masking.
    pub geometry: Geometry,
    /// The segment.
    pub segment: Segment,
    /// Key-value head.
    pub kv_head: usize,
    /// Share of the query blocks: block b belongs to share b mod shares.
    pub share: usize,
    /// Number of shares.
    pub shares: usize,
    /// Queries [T, H, D].
    pub q: &'a [f32],
    /// Keys [T, KV, D].
    pub k: &'a [f32],
    /// Values [T, KV, D].
    pub v: &'a [f32],
    /// Output gradient [T, H, D].
    pub do_: &'a [f32],
    /// Saved denominators [T, H].
    pub lse: &'a [f32],
    /// Row sums of do ∘ o [T, H].
    pub delta: &'a [f32],
    /// Query gradient [T, H, D].
    pub dq: *mut f32,
    /// Key gradient at the segment's first row of this head, zeroed, with `stride` between rows.
    pub dk: *mut f32,
    /// Value gradient, as `dk`.
    pub dv: *mut f32,
    /// Row stride of `dk` and `dv`.
    pub stride: usize,
}

/// Packed query-side operands of one block.
struct Block<'a> {
    query_columns: &'a mut [f32],
    query_rows: &'a mut [f32],
    output_columns: &'a mut [f32],
    output_rows: &'a mut [f32],
    lse: &'a mut [f32],
    delta: &'a mut [f32],
    dq: &'a mut [f32],
}

/// Tiles of one (query block, key block) pair.
struct Tiles<'a> {
    weights: &'a mut [f32],
    gradients: &'a mut [f32],
    keys: &'a mut [f32],
    /// Keys, then values, row by row.
    plain: &'a mut [f32],
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (dim, block) = (self.geometry.dim, self.geometry.block());
        let rows = block * self.geometry.group();
        let padded = rows.next_multiple_of(S::LANES);
        let columns = rows.next_multiple_of(panel_width::<S>()) * dim;
        let panels = panel_floats::<S>(dim, rows);
        let sizes = [
            columns,
            panels,
            columns,
            panels,
            padded,
            padded,
            rows * dim,
            TILE_KEYS * padded,
            TILE_KEYS * padded,
            panel_floats::<S>(dim, TILE_KEYS),
            TILE_KEYS * dim,
        ];
        let mut memory = Scratch::take(sizes.iter().map(|size| round_line(*size)).sum());
        let mut scratch = memory.floats();
        let [query_columns, query_rows, output_columns, output_rows, lse, delta, dq, weights, gradients, keys, plain] =
            sizes.map(|size| take(&mut scratch, size));
        let mut operands = Block { query_columns, query_rows, output_columns, output_rows, lse, delta, dq };
        let mut tiles = Tiles { weights, gradients, keys, plain };
        for index in (self.share..self.segment.queries.div_ceil(block)).step_by(self.shares) {
            let first = index * block;
            let count = block.min(self.segment.queries - first);
            self.query_block(s, first, count, &mut operands, &mut tiles);
        }
    }
}

impl Backward<'_> {
    fn queries<'b>(&self, values: &'b [f32], first: usize, count: usize) -> Queries<'b> {
        Queries { values, token: self.segment.query + first, count, kv_head: self.kv_head }
    }

    #[inline(always)]
    fn query_block<S: Simd>(&self, s: S, first: usize, count: usize, block: &mut Block<'_>, tiles: &mut Tiles<'_>) {
        let geometry = &self.geometry;
        let query = self.queries(self.q, first, count);
        let gradient = self.queries(self.do_, first, count);
        let rows = query.rows(geometry);
        let unit = if geometry.softcap > 0.0 { geometry.scale } else { geometry.scale * LOG2_E };
        query.pack_transposed::<S>(geometry, unit, block.query_columns);
        query.pack(s, geometry, geometry.scale, block.query_rows);
        gradient.pack_transposed::<S>(geometry, 1.0, block.output_columns);
        gradient.pack(s, geometry, 1.0, block.output_rows);
        block.lse.fill(0.0);
        block.delta.fill(0.0);
        for row in 0..rows {
            let at = query.start(geometry, row) / geometry.dim;
            block.lse[row] = self.lse[at] * LOG2_E;
            block.delta[row] = self.delta[at];
        }
        let low = self.segment.position + first;
        let (start, end) = geometry.visible(low, low + count - 1, self.segment.keys);
        let mut key = start;
        while key < end {
            let keys = TILE_KEYS.min(end - key);
            self.key_block(s, (low, count), (key, keys), key > start, block, tiles);
            key += keys;
        }
        for row in 0..rows {
            let target = query.start(geometry, row);
            for column in 0..geometry.dim {
                let value = if end > start { block.dq[row * geometry.dim + column] * geometry.scale } else { 0.0 };
                // SAFETY: query rows of different tasks are disjoint.
                unsafe { *self.dq.add(target + column) = value };
            }
        }
    }

    #[inline(always)]
    fn key_block<S: Simd>(
        &self,
        s: S,
        (low, count): (usize, usize),
        (first, keys): (usize, usize),
        accumulate: bool,
        block: &mut Block<'_>,
        tiles: &mut Tiles<'_>,
    ) {
        let geometry = &self.geometry;
        let (dim, width) = (geometry.dim, panel_width::<S>());
        let rows = count * geometry.group();
        let padded = rows.next_multiple_of(S::LANES);
        let row_stride = geometry.kv_heads * dim;
        let row = self.segment.key + first;
        let base = self.kv_head * dim;
        let head = |rows| Head { rows, base, stride: row_stride, dim };
        let (group, offset) = (geometry.group(), low as isize - first as isize);
        let spared = |causal: Causal| if geometry.causal { causal } else { Causal::Everything };
        let used = keys * padded;
        let transposed = |left: &[f32], right: &[f32], c: *mut f32| Product {
            m: keys,
            n: padded,
            k: dim,
            a: left.as_ptr(),
            a_row: dim,
            a_column: 1,
            b: right.as_ptr(),
            panel: dim * width,
            c,
            c_row: padded,
            accumulate: false,
            causal: spared(Causal::Scores { group, offset }),
        };
        // Rows of a head lie a page apart, where they share few sets of the nearest cache.
        widen_rows(s, head(Rows::F32(self.k)), row, keys, tiles.plain);
        // SAFETY: operands and results are scratch of matching size.
        unsafe { transposed(tiles.plain, block.query_columns, tiles.weights.as_mut_ptr()).multiply(s) };
        widen_rows(s, head(Rows::F32(self.v)), row, keys, tiles.plain);
        // SAFETY: as above.
        unsafe { transposed(tiles.plain, block.output_columns, tiles.gradients.as_mut_ptr()).multiply(s) };
        let weights = &mut tiles.weights[..used];
        if geometry.softcap > 0.0 {
            s.call(SoftCap { scores: weights, cap: geometry.softcap });
        }
        mask(geometry, weights, padded, (low, count), (first, keys), f32::NEG_INFINITY);
        // Gradients that were spared hold anything; a weight of zero times anything need not be zero.
        mask(geometry, &mut tiles.gradients[..used], padded, (low, count), (first, keys), 0.0);
        s.call(Differentiate {
            weights,
            gradients: &mut tiles.gradients[..used],
            lse: &block.lse[..padded],
            delta: &block.delta[..padded],
            softcap: geometry.softcap,
        });
        pack_rows(s, head(Rows::F32(self.k)), row, keys, tiles.keys);
        let down = |left: &[f32], right: &[f32], c: *mut f32| Product {
            m: keys,
            n: dim,
            k: rows,
            a: left.as_ptr(),
            a_row: padded,
            a_column: 1,
            b: right.as_ptr(),
            panel: rows * width,
            c,
            c_row: self.stride,
            accumulate: true,
            causal: spared(Causal::KeysByQueries { group, offset }),
        };
        // SAFETY: as above; key and value gradients of this head in this share are written by this task only.
        unsafe {
            down(tiles.weights, block.output_rows, self.dv.add(first * self.stride)).multiply(s);
            down(tiles.gradients, block.query_rows, self.dk.add(first * self.stride)).multiply(s);
            Product {
                m: rows,
                n: dim,
                k: keys,
                a: tiles.gradients.as_ptr(),
                a_row: 1,
                a_column: padded,
                b: tiles.keys.as_ptr(),
                panel: keys * width,
                c: block.dq.as_mut_ptr(),
                c_row: dim,
                accumulate,
                causal: spared(Causal::QueriesByKeys { group, offset }),
            }
            .multiply(s);
        }
    }
}

/// Scores become weights P = 2^(score − lse), gradients dP become dS = P ∘ (dP − delta).
struct Differentiate<'a> {
    weights: &'a mut [f32],
    gradients: &'a mut [f32],
    lse: &'a [f32],
    delta: &'a [f32],
    softcap: f32,
}

impl Kernel for Differentiate<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let padded = self.lse.len();
        let rows = self.weights.len() / padded;
        assert_eq!(self.gradients.len(), self.weights.len());
        let capped = self.softcap > 0.0;
        let inverse = s.splat(if capped { 1.0 / self.softcap } else { 0.0 });
        let unit = s.splat(if capped { LOG2_E } else { 1.0 });
        let mut column = 0;
        while column < padded {
            // SAFETY: all arrays hold `padded` (a multiple of LANES) columns.
            unsafe {
                let lse = s.load(self.lse.as_ptr().add(column));
                let delta = s.load(self.delta.as_ptr().add(column));
                for row in 0..rows {
                    let at = row * padded + column;
                    let score = s.load(self.weights.as_ptr().add(at));
                    let weight = exp2_nonpositive(s, s.sub(s.mul(score, unit), lse));
                    let dp = s.load(self.gradients.as_ptr().add(at));
                    let mut ds = s.mul(weight, s.sub(dp, delta));
                    if capped {
                        // d tanh: 1 − (score/cap)²; hidden scores are −∞ and their weight is 0.
                        let t = s.mul(score, inverse);
                        let slope = s.fnma(t, t, s.splat(1.0));
                        ds = s.select(s.eq(weight, s.splat(0.0)), s.splat(0.0), s.mul(ds, slope));
                    }
                    s.store(self.weights.as_mut_ptr().add(at), weight);
                    s.store(self.gradients.as_mut_ptr().add(at), ds);
                }
            }
            column += S::LANES;
        }
    }
}

/// delta[row] = Σ do·o over rows of `dim`.
pub struct RowDots<'a> {
    /// Output gradient.
    pub do_: &'a [f32],
    /// Output.
    pub o: &'a [f32],
    /// Result.
    pub delta: &'a mut [f32],
}

impl Kernel for RowDots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let dim = self.o.len() / self.delta.len().max(1);
        for (row, delta) in self.delta.iter_mut().enumerate() {
            let mut sum = s.splat(0.0);
            let mut column = 0;
            while column < dim {
                let count = (dim - column).min(S::LANES);
                let at = row * dim + column;
                let a = crate::cpu::simd::span::get(s, self.do_, at, count);
                sum = s.fma(a, crate::cpu::simd::span::get(s, self.o, at, count), sum);
                column += S::LANES;
            }
            *delta = s.sum(sum);
        }
    }
}
