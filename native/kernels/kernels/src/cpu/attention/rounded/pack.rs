//! Rounds operands to bf16 in the three orders that the products read.

use super::tile::PANEL;
use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::transpose::{Transpose, transpose};
use crate::cpu::isa::Isa;
use std::arch::x86_64::*;
use std::cell::Cell;
use std::thread::LocalKey;

/// Rows of one key-value head: row r is head `head + r % group` of token `token + r / group`.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// [T, heads, dim] elements.
    pub values: &'a [f32],
    /// First token.
    pub token: usize,
    /// Number of rows.
    pub count: usize,
    /// Heads per token.
    pub heads: usize,
    /// First head.
    pub head: usize,
    /// Heads per token that are rows.
    pub group: usize,
    /// Elements per row.
    pub dim: usize,
}

impl Rows<'_> {
    /// Index of the first element of a row.
    pub fn start(&self, row: usize) -> usize {
        ((self.token + row / self.group) * self.heads + self.head + row % self.group) * self.dim
    }

    fn row(&self, row: usize) -> &[f32] {
        let start = self.start(row);
        &self.values[start..start + self.dim]
    }
}

/// Words per row of [`pack_rows`]: whole cache lines.
pub fn row_words(dim: usize) -> usize {
    dim.div_ceil(32) * 16
}

/// Panels of [`pack_pairs`] and [`pack_transposed`].
pub fn panels(columns: usize) -> usize {
    columns.div_ceil(PANEL)
}

/// A mask of the first `count` of 16 lanes.
fn lanes(count: usize) -> u16 {
    if count >= 16 { u16::MAX } else { (1 << count) - 1 }
}

/// Pairs along the row, row after row: target[row·words + p] = (2p, 2p + 1), times `factor`, zero beyond `dim`.
///
/// # Safety
/// AVX-512 F, BW and BF16 exist.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn pack_rows(rows: Rows<'_>, factor: f32, target: &mut [u32]) {
    let words = row_words(rows.dim);
    let factor = _mm512_set1_ps(factor);
    for row in 0..rows.count {
        let source = rows.row(row);
        let target = &mut target[row * words..(row + 1) * words];
        for column in (0..rows.dim).step_by(32) {
            let left = rows.dim - column;
            // SAFETY: masked lanes are not touched, the others lie inside the row; the target holds 16 words from
            // half its column on.
            unsafe {
                let at = source.as_ptr().add(column);
                let low = _mm512_maskz_loadu_ps(lanes(left), at);
                let high = _mm512_maskz_loadu_ps(lanes(left.saturating_sub(16)), at.wrapping_add(16));
                let both = _mm512_cvtne2ps_pbh(_mm512_mul_ps(high, factor), _mm512_mul_ps(low, factor));
                _mm512_storeu_si512(
                    target.as_mut_ptr().add(column / 2).cast(),
                    std::mem::transmute::<__m512bh, __m512i>(both),
                );
            }
        }
    }
}

/// Pairs of rows in panels of columns: target[(c / 64)·panel + p·64 + c % 64] = (row 2p, row 2p + 1) of column c,
/// times `factor`; zero beyond `dim` to the end of the vector, and for the row that an odd count lacks.
///
/// # Safety
/// AVX-512 F, BW and BF16 exist, and the words named above are writable.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn pack_pairs(rows: Rows<'_>, factor: f32, target: *mut u32, panel: usize) {
    let factor = _mm512_set1_ps(factor);
    let order = interleave();
    for pair in 0..rows.count.div_ceil(2) {
        let first = rows.row(2 * pair);
        let second = if 2 * pair + 1 < rows.count { rows.row(2 * pair + 1) } else { &[] };
        for column in (0..rows.dim).step_by(16) {
            let present = lanes(rows.dim - column);
            let also = if second.is_empty() { 0 } else { present };
            // SAFETY: masked lanes are not touched, the others lie inside their rows; the target is the caller's.
            unsafe {
                let low = _mm512_maskz_loadu_ps(present, first.as_ptr().wrapping_add(column));
                let high = _mm512_maskz_loadu_ps(also, second.as_ptr().wrapping_add(column));
                let words = pair_lanes(_mm512_mul_ps(low, factor), _mm512_mul_ps(high, factor), order);
                let at = column / PANEL * panel + pair * PANEL + column % PANEL;
                _mm512_storeu_si512(target.add(at).cast(), words);
            }
        }
    }
}

/// The permutation that brings the halves of `cvtne2ps_pbh` into pairs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub fn interleave() -> __m512i {
    // Word i takes half i (low) and half 16 + i (high).
    let low = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let high = _mm512_slli_epi32::<16>(_mm512_add_epi32(low, _mm512_set1_epi32(16)));
    _mm512_or_si512(low, high)
}

/// Rounds two vectors and pairs them lane by lane, `low` in the low halves.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub fn pair_lanes(low: __m512, high: __m512, order: __m512i) -> __m512i {
    // SAFETY: the cast only renames the register.
    let both = unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) };
    _mm512_permutexvar_epi16(order, both)
}

/// Pairs along the row in panels of rows: target[(r / 64)·panel + p·64 + r % 64] = (2p, 2p + 1) of row r, times
/// `factor`; zero beyond the last row to the end of its vector. `stage` holds the rows in between.
///
/// # Safety
/// AVX-512 F, BW and BF16 exist.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub unsafe fn pack_transposed(rows: Rows<'_>, factor: f32, target: &mut [u32], stage: &mut [u32]) {
    let (words, used) = (row_words(rows.dim), rows.dim.div_ceil(2));
    let panel = used * PANEL;
    assert!(panels(rows.count) * panel <= target.len() && rows.count * words <= stage.len());
    // SAFETY: the instructions exist; the extents of both sides were checked.
    unsafe {
        pack_rows(rows, factor, stage);
        for first in (0..rows.count).step_by(PANEL) {
            let lanes = PANEL.min(rows.count - first);
            transpose(
                Isa::Avx512Bf16,
                Transpose {
                    source: stage.as_ptr().add(first * words).cast(),
                    stride_bytes: 4 * words,
                    lanes,
                    words: used,
                    target: target.as_mut_ptr().add(first / PANEL * panel),
                    width: PANEL,
                    written: lanes.next_multiple_of(16),
                },
            );
        }
    }
}

/// Writes rows as they lie in memory: [row] = factor[row] · source[row·wide ..].
///
/// # Safety
/// AVX-512 F exists; `target` is the first element of the tensor that `rows` describes, whose rows are writable.
#[target_feature(enable = "avx512f")]
pub unsafe fn write_rows(rows: Rows<'_>, source: &[f32], wide: usize, factors: &[f32], target: *mut f32) {
    for row in 0..rows.count {
        let factor = _mm512_set1_ps(factors[row]);
        let source = &source[row * wide..(row + 1) * wide];
        let start = rows.start(row);
        for column in (0..rows.dim).step_by(16) {
            // SAFETY: source rows are whole vectors; masked lanes of the target are not touched.
            unsafe {
                let value = _mm512_mul_ps(_mm512_loadu_ps(source.as_ptr().add(column)), factor);
                _mm512_mask_storeu_ps(target.add(start + column), lanes(rows.dim - column), value);
            }
        }
    }
}

/// target[row] = Σ a[row]·b[row], the rows of both laid out alike.
///
/// # Safety
/// AVX-512 F exists.
#[target_feature(enable = "avx512f")]
pub unsafe fn row_dots(a: Rows<'_>, b: Rows<'_>, target: &mut [f32]) {
    for row in 0..a.count {
        let (left, right) = (a.row(row), b.row(row));
        let mut sum = _mm512_setzero_ps();
        for column in (0..a.dim).step_by(16) {
            let present = lanes(a.dim - column);
            // SAFETY: masked lanes are not touched, the others lie inside the rows.
            unsafe {
                let left = _mm512_maskz_loadu_ps(present, left.as_ptr().add(column));
                let right = _mm512_maskz_loadu_ps(present, right.as_ptr().add(column));
                sum = _mm512_fmadd_ps(left, right, sum);
            }
        }
        target[row] = _mm512_reduce_add_ps(sum);
    }
}

thread_local! {
    /// Memory of a task.
    pub static TASK: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
    /// Memory that the tasks of a call share.
    pub static CALL: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
}

/// A thread's memory for `TASK` or `CALL`, which goes back when dropped and is kept, so that a steady step allocates
/// nothing.
pub struct Memory {
    home: &'static LocalKey<Cell<WordBuffer>>,
    buffer: WordBuffer,
    words: usize,
}

impl Memory {
    /// At least `words` words with unspecified contents.
    pub fn take(home: &'static LocalKey<Cell<WordBuffer>>, words: usize) -> Self {
        Self { home, buffer: home.take(), words }
    }

    /// The words.
    pub fn words(&mut self) -> &mut [u32] {
        self.buffer.words(self.words)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.home.set(std::mem::take(&mut self.buffer));
    }
}

/// Takes the next `words` words, rounded up to a cache line, off the front of `memory`.
pub fn take<'a>(memory: &mut &'a mut [u32], words: usize) -> &'a mut [u32] {
    let (front, rest) = std::mem::take(memory).split_at_mut(line(words));
    *memory = rest;
    front
}

/// As [`take`], as f32.
pub fn take_floats<'a>(memory: &mut &'a mut [u32], floats: usize) -> &'a mut [f32] {
    let words = take(memory, floats);
    // SAFETY: u32 and f32 have equal size and alignment, and every bit pattern is a valid f32.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len()) }
}

/// Rounds a number of words up to whole cache lines.
pub fn line(words: usize) -> usize {
    words.next_multiple_of(16)
}
