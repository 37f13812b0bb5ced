//! Operand packing, masking and score functions shared by forward and backward.

use super::micro::panel_width;
use super::plan::Geometry;
use crate::cpu::simd::math::tanh;
use crate::cpu::simd::{Kernel, Simd, prefetch};
use std::cell::Cell;

/// Rows of keys or values: `rows` × kv_heads × dim.
#[derive(Clone, Copy)]
pub enum Rows<'a> {
    /// f32 elements.
    F32(&'a [f32]),
    /// bf16 bits.
    BF16(&'a [u16]),
}

impl Rows<'_> {
    /// Number of elements.
    pub fn elements(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::BF16(values) => values.len(),
        }
    }
}

/// One head's slice of consecutive rows: row i starts at `base + i·stride`.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// Elements.
    pub rows: Rows<'a>,
    /// First element of the first row.
    pub base: usize,
    /// Elements between rows.
    pub stride: usize,
    /// Elements per row.
    pub dim: usize,
}

/// Floats that `count` rows of `dim` take in panels.
pub fn panel_floats<S: Simd>(dim: usize, rows: usize) -> usize {
    dim.next_multiple_of(panel_width::<S>()) * rows
}

/// Rows that packing asks for ahead: those of a head lie a page or so apart, where no hardware prefetcher follows.
const AHEAD: usize = 6;

/// Asks for a row [`AHEAD`] rows after the one at `start`; it need not exist.
#[inline(always)]
fn ask(head: &Head<'_>, start: usize) {
    let at = start + AHEAD * head.stride;
    match head.rows {
        Rows::F32(values) => {
            for column in (0..head.dim).step_by(16) {
                prefetch(values.as_ptr().wrapping_add(at + column));
            }
        }
        Rows::BF16(bits) => {
            for column in (0..head.dim).step_by(32) {
                prefetch(bits.as_ptr().wrapping_add(at + column));
            }
        }
    }
}

/// Copies rows `first..first + count` into panels of columns, zero-padded: the right operand of
/// a product whose inner extent is the row.
#[inline(always)]
pub fn pack_rows<S: Simd>(s: S, head: Head<'_>, first: usize, count: usize, panels: &mut [f32]) {
    let width = panel_width::<S>();
    let whole = head.dim / S::LANES * S::LANES;
    assert!(panels.len() >= panel_floats::<S>(head.dim, count));
    for row in 0..count {
        let start = head.base + (first + row) * head.stride;
        ask(&head, start);
        let mut column = 0;
        while column < head.dim {
            let target = column / width * width * count + row * width + column % width;
            let value = load::<S>(s, head.rows, start + column, (head.dim - column).min(S::LANES), column < whole);
            // SAFETY: the target vector lies inside its panel, which the assertion covers.
            unsafe { s.store(panels.as_mut_ptr().add(target), value) };
            column += S::LANES;
        }
    }
}

/// Converts rows to contiguous f32.
#[inline(always)]
pub fn widen_rows<S: Simd>(s: S, head: Head<'_>, first: usize, count: usize, target: &mut [f32]) {
    for row in 0..count {
        let start = head.base + (first + row) * head.stride;
        ask(&head, start);
        let target = &mut target[row * head.dim..(row + 1) * head.dim];
        let mut column = 0;
        while column < head.dim {
            let lanes = (head.dim - column).min(S::LANES);
            let value = load::<S>(s, head.rows, start + column, lanes, lanes == S::LANES);
            crate::cpu::simd::span::put(s, target, column, lanes, value);
            column += S::LANES;
        }
    }
}

#[inline(always)]
fn load<S: Simd>(s: S, rows: Rows<'_>, at: usize, count: usize, whole: bool) -> S::F {
    match rows {
        Rows::F32(values) => crate::cpu::simd::span::get(s, values, at, count),
        Rows::BF16(bits) if whole => {
            let source = &bits[at..at + S::LANES];
            // SAFETY: LANES elements by the slice above.
            unsafe { s.load_bf16(source.as_ptr()) }
        }
        Rows::BF16(bits) => {
            let mut padded = [0u16; 16];
            padded[..count].copy_from_slice(&bits[at..at + count]);
            // SAFETY: the array holds at least LANES elements.
            unsafe { s.load_bf16(padded.as_ptr()) }
        }
    }
}

/// Rows of query tokens of one key-value head: row (token, g) is head kv_head·G + g of the token.
#[derive(Clone, Copy)]
pub struct Queries<'a> {
    /// [T, H, D] elements.
    pub values: &'a [f32],
    /// First token.
    pub token: usize,
    /// Tokens.
    pub count: usize,
    /// Key-value head.
    pub kv_head: usize,
}

impl Queries<'_> {
    /// First element of row `row`.
    #[inline(always)]
    pub fn start(&self, geometry: &Geometry, row: usize) -> usize {
        let group = geometry.group();
        ((self.token + row / group) * geometry.heads + self.kv_head * group + row % group) * geometry.dim
    }

    /// Number of rows.
    #[inline(always)]
    pub fn rows(&self, geometry: &Geometry) -> usize {
        self.count * geometry.group()
    }

    /// Writes the transpose, times `factor`, into panels of query columns: the right operand of a
    /// product whose inner extent is the head.
    #[inline(always)]
    pub fn pack_transposed<S: Simd>(&self, geometry: &Geometry, factor: f32, panels: &mut [f32]) {
        let (width, dim, rows) = (panel_width::<S>(), geometry.dim, self.rows(geometry));
        let padded = rows.next_multiple_of(width);
        // Eight rows at a time fill half a line of the panel at once.
        for first in (0..padded).step_by(8) {
            let target = &mut panels[first / width * width * dim + first % width..];
            let starts: [usize; 8] = std::array::from_fn(|lane| self.start(geometry, (first + lane).min(rows - 1)));
            let sources = starts.map(|start| &self.values[start..start + dim]);
            let factors: [f32; 8] = std::array::from_fn(|lane| if first + lane < rows { factor } else { 0.0 });
            for column in 0..dim {
                let line = &mut target[column * width..column * width + 8];
                for lane in 0..8 {
                    line[lane] = sources[lane][column] * factors[lane];
                }
            }
        }
    }

    /// Copies the rows, times `factor`, into panels of head columns.
    #[inline(always)]
    pub fn pack<S: Simd>(&self, s: S, geometry: &Geometry, factor: f32, panels: &mut [f32]) {
        let (width, dim, rows) = (panel_width::<S>(), geometry.dim, self.rows(geometry));
        assert!(panels.len() >= panel_floats::<S>(dim, rows));
        for row in 0..rows {
            let start = self.start(geometry, row);
            let mut column = 0;
            while column < dim {
                let target = column / width * width * rows + row * width + column % width;
                let count = (dim - column).min(S::LANES);
                let value = crate::cpu::simd::span::get(s, self.values, start + column, count);
                // SAFETY: the target vector lies inside its panel, which the assertion covers.
                unsafe { s.store(panels.as_mut_ptr().add(target), s.mul(value, s.splat(factor))) };
                column += S::LANES;
            }
        }
    }
}

/// Hides scores: `scores` is [keys, stride] with one column per (query, head of the group). Columns beyond the last
/// query are hidden with it when the window passes it.
/// `first_query` and `first_key` are positions in the sequence.
#[inline(always)]
pub fn mask(
    geometry: &Geometry,
    scores: &mut [f32],
    stride: usize,
    (first_query, queries): (usize, usize),
    (first_key, keys): (usize, usize),
    hidden: f32,
) {
    let (last_query, last_key) = (first_query + queries - 1, first_key + keys - 1);
    let after = geometry.causal && last_key > first_query;
    let before = geometry.window > 0 && last_query >= first_key + geometry.window;
    if !after && !before {
        return;
    }
    let (group, columns) = (geometry.group(), queries * geometry.group());
    for row in 0..keys {
        let key = first_key + row;
        let scores = &mut scores[row * stride..(row + 1) * stride];
        if after {
            let shown = (key.saturating_sub(first_query) * group).min(columns);
            scores[..shown].fill(hidden);
        }
        if before {
            let shown = ((key + geometry.window).saturating_sub(first_query) * group).min(columns);
            scores[shown..].fill(hidden);
        }
    }
}

/// score ← cap·tanh(score/cap), both in units of `unit` (the base-2 exponent's).
pub struct SoftCap<'a> {
    /// Scores, whole vectors.
    pub scores: &'a mut [f32],
    /// The cap in the scores' unit.
    pub cap: f32,
}

impl Kernel for SoftCap<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let inverse = s.splat(1.0 / self.cap);
        for chunk in self.scores.chunks_exact_mut(S::LANES) {
            // SAFETY: chunks of exactly LANES elements.
            unsafe {
                let t = tanh(s, s.mul(s.load(chunk.as_ptr()), inverse));
                s.store(chunk.as_mut_ptr(), s.mul(t, s.splat(self.cap)));
            }
        }
    }
}

thread_local! {
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// This thread's scratch memory, 64-byte aligned, with unspecified contents. It goes back when dropped and is kept
/// between calls, so that a steady step allocates nothing. A value rather than a closure's argument: vector code
/// inside a closure would be compiled without the caller's instruction set.
pub struct Scratch {
    memory: Vec<f32>,
    floats: usize,
}

impl Scratch {
    /// At least `floats` elements.
    pub fn take(floats: usize) -> Self {
        let mut memory = SCRATCH.take();
        if memory.len() < floats + 16 {
            memory.resize(floats + 16, 0.0);
        }
        Self { memory, floats }
    }

    /// The elements.
    pub fn floats(&mut self) -> &mut [f32] {
        let skip = self.memory.as_ptr().align_offset(64);
        &mut self.memory[skip..skip + self.floats]
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        SCRATCH.set(std::mem::take(&mut self.memory));
    }
}

/// Takes the next `floats` elements (rounded up to a cache line) off the front of `scratch`.
pub fn take<'a>(scratch: &mut &'a mut [f32], floats: usize) -> &'a mut [f32] {
    let rounded = round_line(floats);
    let (front, rest) = std::mem::take(scratch).split_at_mut(rounded);
    *scratch = rest;
    front
}

/// Rounds a number of floats up to whole cache lines.
pub fn round_line(floats: usize) -> usize {
    floats.next_multiple_of(16)
}
