//! Brings operands into the orders that products read, and results back into rows.
//!
//! *Slabs* are left operands: word p of row i at `(p / 16)·slab + 16·i + p % 16`. *Panels* are right operands: word p
//! of column j at `(j / 32)·panel + 32·p + j % 32`. What is missing of a block of 32 is zero.

use super::super::pack::Rows as Stored;
use super::rows::{Element, Place, Rows, Written};
use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::transpose::turn;
use std::arch::x86_64::*;
use std::cell::Cell;
use std::thread::LocalKey;

/// Rows and columns of a block.
pub const BLOCK: usize = 32;

/// Elements of a block of results.
pub const SQUARE: usize = BLOCK * BLOCK;

/// Calls a function for the element type of `$rows`.
macro_rules! typed {
    ($rows:expr, $function:ident($($argument:expr),*)) => {{
        $rows.check();
        match $rows.values {
            Stored::F32(values) => $function(values.as_ptr(), &$rows.place, $($argument),*),
            Stored::BF16(values) => $function(values.as_ptr(), &$rows.place, $($argument),*),
        }
    }};
}

/// Slabs of pairs along the row, those of 32 rows after those of the 32 rows before.
///
/// # Safety
/// AVX-512 F, BW, VL and BF16 exist, and the slabs are writable.
pub unsafe fn pack_slabs(rows: Rows<'_>, target: *mut u32) {
    // SAFETY: the rows lie inside the tensor, which was checked; by the caller.
    unsafe { typed!(rows, slabs(target)) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn slabs<E: Element>(values: *const E, place: &Place, target: *mut u32) {
    let (slab, rows) = (16 * BLOCK, 16 * place.dim.next_multiple_of(BLOCK));
    for row in 0..place.count.next_multiple_of(BLOCK) {
        // SAFETY: rows inside the tensor; slabs by the caller.
        unsafe {
            let target = target.add(row / BLOCK * rows + 16 * (row % BLOCK));
            if row >= place.count {
                for column in (0..place.dim).step_by(32) {
                    _mm512_storeu_si512(target.add(column / 32 * slab).cast(), _mm512_setzero_si512());
                }
                continue;
            }
            let source = values.add(place.start(row));
            for column in (0..place.dim).step_by(32) {
                let words = E::halves(source.add(column), place.dim - column);
                _mm512_storeu_si512(target.add(column / 32 * slab).cast(), words);
            }
        }
    }
}

/// Panels of pairs along the row: a column per row.
///
/// # Safety
/// As [`pack_slabs`].
pub unsafe fn pack_columns(rows: Rows<'_>, target: *mut u32) {
    // SAFETY: as in `pack_slabs`.
    unsafe { typed!(rows, columns(target)) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn columns<E: Element>(values: *const E, place: &Place, target: *mut u32) {
    let panel = 16 * place.dim.next_multiple_of(BLOCK);
    for first in (0..place.count.next_multiple_of(BLOCK)).step_by(16) {
        let present = place.count.saturating_sub(first).min(16);
        let starts: [usize; 16] = std::array::from_fn(|row| if row < present { place.start(first + row) } else { 0 });
        for column in (0..place.dim).step_by(32) {
            // SAFETY: rows inside the tensor; panels by the caller.
            unsafe {
                let mut r = [_mm512_setzero_ps(); 16];
                for row in 0..present {
                    let words = E::halves(values.add(starts[row] + column), place.dim - column);
                    r[row] = _mm512_castsi512_ps(words);
                }
                let at = target.add(first / BLOCK * panel + 16 * column + first % BLOCK).cast::<f32>();
                for (step, words) in turn(r).into_iter().enumerate() {
                    _mm512_storeu_ps(at.add(step * BLOCK), words);
                }
            }
        }
    }
}

/// Panels of pairs of rows: a column per element. `panel` words lie between panels.
///
/// # Safety
/// As [`pack_slabs`].
pub unsafe fn pack_pairs(rows: Rows<'_>, target: *mut u32, panel: usize) {
    // SAFETY: as in `pack_slabs`.
    unsafe { typed!(rows, pairs(target, panel)) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn pairs<E: Element>(values: *const E, place: &Place, target: *mut u32, panel: usize) {
    for pair in 0..place.count.next_multiple_of(BLOCK) / 2 {
        let rows = [2 * pair, 2 * pair + 1];
        let [low, high] = rows.map(|row| if row < place.count { place.start(row) } else { 0 });
        let [most, also] = rows.map(|row| if row < place.count { place.dim } else { 0 });
        for column in (0..place.dim.next_multiple_of(BLOCK)).step_by(16) {
            // SAFETY: rows inside the tensor, elements beyond them not touched; panels by the caller.
            unsafe {
                let rows = [values.wrapping_add(low + column), values.wrapping_add(high + column)];
                let words = E::pairs(rows, [most.saturating_sub(column), also.saturating_sub(column)]);
                let at = column / BLOCK * panel + pair * BLOCK + column % BLOCK;
                _mm512_storeu_si512(target.add(at).cast(), words);
            }
        }
    }
}

/// Slabs of pairs of rows, a row per element, those of 32 elements after those of the 32 elements before.
///
/// # Safety
/// As [`pack_slabs`].
pub unsafe fn pack_turned_pairs(rows: Rows<'_>, target: *mut u32) {
    // SAFETY: as in `pack_slabs`.
    unsafe { typed!(rows, turned_pairs(target)) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn turned_pairs<E: Element>(values: *const E, place: &Place, target: *mut u32) {
    let (dim, slab) = (place.dim, 16 * BLOCK);
    let elements = place.count.div_ceil(BLOCK) * slab;
    for first in (0..place.count).step_by(BLOCK) {
        let present = (place.count - first).min(BLOCK);
        let starts: [usize; BLOCK] =
            std::array::from_fn(|row| if row < present { place.start(first + row) } else { 0 });
        for column in (0..dim.next_multiple_of(BLOCK)).step_by(16) {
            let left = dim.saturating_sub(column);
            // SAFETY: rows inside the tensor, elements beyond them not touched; slabs by the caller.
            unsafe {
                let mut r = [_mm512_setzero_ps(); 16];
                for pair in 0..present.div_ceil(2) {
                    let rows = [
                        values.wrapping_add(starts[2 * pair] + column),
                        values.wrapping_add(starts[2 * pair + 1] + column),
                    ];
                    let also = if 2 * pair + 1 < present { left } else { 0 };
                    r[pair] = _mm512_castsi512_ps(E::pairs(rows, [left, also]));
                }
                let at = column / BLOCK * elements + first / BLOCK * slab + 16 * (column % BLOCK);
                let at = target.add(at).cast::<f32>();
                for (row, words) in turn(r).into_iter().enumerate() {
                    _mm512_storeu_ps(at.add(16 * row), words);
                }
            }
        }
    }
}

/// target[row] = Σ a[row]·b[row], the rows of both at the same place.
///
/// # Safety
/// AVX-512 F, BW and VL exist.
pub unsafe fn row_dots(a: Rows<'_>, b: Rows<'_>, target: &mut [f32]) {
    b.check();
    // SAFETY: rows inside their tensors, which were checked; by the caller.
    unsafe {
        match b.values {
            Stored::F32(values) => typed!(a, dots(values.as_ptr(), target)),
            Stored::BF16(values) => typed!(a, dots(values.as_ptr(), target)),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn dots<A: Element, B: Element>(a: *const A, place: &Place, b: *const B, target: &mut [f32]) {
    for row in 0..place.count {
        let start = place.start(row);
        let mut sum = _mm512_setzero_ps();
        for column in (0..place.dim).step_by(16) {
            let left = place.dim - column;
            // SAFETY: rows inside their tensors.
            unsafe {
                let (a, b) = (A::wide(a.add(start + column), left), B::wide(b.add(start + column), left));
                sum = _mm512_fmadd_ps(a, b, sum);
            }
        }
        target[row] = _mm512_reduce_add_ps(sum);
    }
}

/// Results in blocks, written as rows, past the caches where `streams`: row = factor · (element (row, c) at
/// `(c / 32)·panel + 32·row + c % 32`), with a
/// factor per row.
///
/// # Safety
/// AVX-512 F, BW, VL and BF16 exist, the results and factors are readable and the rows of `target` writable.
pub unsafe fn write_rows(
    place: &Place,
    source: *const f32,
    panel: usize,
    factors: &[f32],
    target: Written,
    streams: bool,
) {
    // SAFETY: by the caller.
    unsafe {
        match target {
            Written::F32(target) => rows_of(place, source, panel, factors, target, streams),
            Written::BF16(target) => rows_of(place, source, panel, factors, target, streams),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn rows_of<E: Element>(
    place: &Place,
    source: *const f32,
    panel: usize,
    factors: &[f32],
    target: *mut E,
    streams: bool,
) {
    for row in 0..place.count {
        let factor = _mm512_set1_ps(factors[row]);
        let start = place.start(row);
        for column in (0..place.dim).step_by(BLOCK) {
            // SAFETY: by the caller.
            unsafe {
                let at = source.add(column / BLOCK * panel + BLOCK * row);
                let low = _mm512_mul_ps(_mm512_loadu_ps(at), factor);
                let high = _mm512_mul_ps(_mm512_loadu_ps(at.add(16)), factor);
                E::put(target.add(start + column), place.dim - column, [low, high], streams);
            }
        }
    }
}

/// As [`write_rows`] for at most 32 rows that are columns of the results: row = factor · (element (c, row) at
/// `32·c + row`).
///
/// # Safety
/// As [`write_rows`].
pub unsafe fn write_turned(place: &Place, source: *const f32, factor: f32, target: Written) {
    assert!(place.count <= BLOCK);
    // SAFETY: by the caller.
    unsafe {
        match target {
            Written::F32(target) => turned(place, source, factor, target),
            Written::BF16(target) => turned(place, source, factor, target),
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn turned<E: Element>(place: &Place, source: *const f32, factor: f32, target: *mut E) {
    let factor = _mm512_set1_ps(factor);
    for first in (0..place.count).step_by(16) {
        let starts: [usize; 16] = std::array::from_fn(|row| place.start(first + row));
        for column in (0..place.dim).step_by(BLOCK) {
            // SAFETY: by the caller.
            unsafe {
                let at = source.add(column * BLOCK + first);
                let (mut low, mut high) = ([_mm512_setzero_ps(); 16], [_mm512_setzero_ps(); 16]);
                for i in 0..16 {
                    low[i] = _mm512_mul_ps(_mm512_loadu_ps(at.add(i * BLOCK)), factor);
                    high[i] = _mm512_mul_ps(_mm512_loadu_ps(at.add((16 + i) * BLOCK)), factor);
                }
                let (low, high) = (turn(low), turn(high));
                for row in 0..(place.count - first).min(16) {
                    E::write(target.add(starts[row] + column), place.dim - column, [low[row], high[row]]);
                }
            }
        }
    }
}

thread_local! {
    /// Memory of a task.
    pub static TASK: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
    /// Rounded keys and values that the tasks of a call share.
    pub static CALL: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
    /// Gradients of keys and values that the shares of a call add up to.
    pub static SUMS: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
}

/// A thread's memory for one of the above, which goes back when dropped and is kept, so that a steady step allocates
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
