//! [`Product`] with tile registers: 32 rows by 32 columns at a time. The rows of A are gathered first, which brings the
//! transposed ones into order and fills what is missing of a tile with zeros.

use super::ahead::Ahead;
use super::tile::{Left, PANEL, Part, Product, Update};
use crate::cpu::amx::{Before, Columns, Part as Steps, Sums, TILE, multiply};
use crate::cpu::gemm::transpose::{Transpose, transpose};
use crate::cpu::isa::Isa;
use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Rows of A gathered at a time.
const ROWS: usize = 2 * TILE;

/// Steps of K gathered at a time: a head of 256 elements at once.
const STEPS: usize = 128;

/// Gathered rows: 16 steps of K after 16 steps, 16 or 32 rows of 16 words.
#[repr(C, align(64))]
struct Gathered([u32; ROWS * STEPS]);

/// The last steps of two tiles of B, zeros after them.
#[repr(C, align(64))]
struct Last([u32; TILE * 2 * TILE]);

impl Product<'_> {
    /// As [`Product::multiply`].
    ///
    /// # Safety
    /// As there, and this thread holds tile registers.
    pub unsafe fn multiply_tiles(&self, ahead: &mut Ahead) {
        let mut gathered = MaybeUninit::<Gathered>::uninit();
        // SAFETY: only addresses are made of it; what is read was written before, but for rows that nobody needs.
        let gathered = gathered.as_mut_ptr().cast::<u32>();
        for row in self.rows.clone().step_by(ROWS) {
            let rows = row..(row + ROWS).min(self.rows.end);
            let Part { columns, steps } = self.part(rows.clone());
            if columns.is_empty() {
                continue;
            }
            let mut update = match self.update {
                // SAFETY: one factor per row of C.
                Update::Rescale(factors) => Update::Rescale(unsafe { factors.add(row) }),
                other => other,
            };
            // At least once: without steps, C is still set or rescaled.
            let mut start = steps.start;
            loop {
                let taken = start..(start + STEPS).min(steps.end);
                // SAFETY: by the caller.
                unsafe {
                    gather(&self.left, rows.clone(), taken.clone(), gathered);
                    self.rows_of_tiles(rows.clone(), columns.clone(), taken.clone(), gathered, update, ahead);
                }
                start = taken.end;
                update = Update::Add;
                if start >= steps.end {
                    break;
                }
            }
        }
    }

    /// One or two tiles of rows, all columns.
    ///
    /// # Safety
    /// As [`Self::multiply_tiles`].
    unsafe fn rows_of_tiles(
        &self,
        rows: Range<usize>,
        columns: Range<usize>,
        steps: Range<usize>,
        a: *const u32,
        update: Update,
        ahead: &mut Ahead,
    ) {
        let mut column = columns.start;
        while column < columns.end {
            // Two tiles lie in the same panel of B.
            let width = (columns.end - column).min(2 * TILE - column % (2 * TILE));
            // SAFETY: rows and columns lie inside C, steps and columns inside B.
            unsafe {
                let b = self.right.at.add(column / PANEL * self.right.panel + steps.start * PANEL + column % PANEL);
                let c = self.target.add(rows.start * self.stride + column);
                if width > TILE {
                    self.tile::<2>(rows.len(), width, steps.len(), a, b, c, update);
                } else {
                    self.tile::<1>(rows.len(), width, steps.len(), a, b, c, update);
                }
            }
            ahead.step();
            ahead.step();
            column += width;
        }
    }

    /// `rows` rows by `width` columns of C.
    ///
    /// # Safety
    /// As [`Self::multiply_tiles`].
    #[target_feature(enable = "avx512f,avx512bw")]
    unsafe fn tile<const V: usize>(
        &self,
        rows: usize,
        width: usize,
        steps: usize,
        a: *const u32,
        b: *const u32,
        c: *mut f32,
        update: Update,
    ) {
        let two = rows > TILE;
        let whole = steps / TILE * TILE;
        let direct = rows.is_multiple_of(TILE) && width == V * TILE && !matches!(update, Update::Rescale(_));
        let mut sums = MaybeUninit::<Sums>::uninit();
        let sums = sums.as_mut_ptr().cast::<f32>();
        let (to, stride) = if direct { (c, self.stride) } else { (sums, V * TILE) };
        let before = (direct && matches!(update, Update::Add)).then_some(Before { at: to, stride });
        // SAFETY: the gathered rows hold all steps; whole steps of B are read where they lie, the others from a copy.
        unsafe {
            let b = Columns { at: b, stride: PANEL };
            let mut parts = [Steps { steps: whole, a, b }, Steps { steps: 0, a, b }];
            let mut last = MaybeUninit::<Last>::uninit();
            if whole < steps {
                let last = last.as_mut_ptr().cast::<u32>();
                for step in 0..TILE {
                    for v in 0..V {
                        let words = if whole + step < steps {
                            _mm512_loadu_si512(b.at.add((whole + step) * PANEL + v * TILE).cast())
                        } else {
                            _mm512_setzero_si512()
                        };
                        _mm512_store_si512(last.add((step * V + v) * TILE).cast(), words);
                    }
                }
                let a = a.add(whole * rows.next_multiple_of(TILE));
                parts[1] = Steps { steps: TILE, a, b: Columns { at: last, stride: V * TILE } };
            }
            multiply::<V>(two, &parts, before, to, stride);
            if direct {
                return;
            }
            for row in 0..rows {
                let factor = match update {
                    Update::Rescale(factors) => _mm512_set1_ps(*factors.add(row)),
                    _ => _mm512_set1_ps(1.0),
                };
                for v in 0..V {
                    let lanes = width - v * TILE;
                    let lanes: u16 = if lanes >= TILE { u16::MAX } else { (1 << lanes) - 1 };
                    let target = c.add(row * self.stride + v * TILE);
                    let mut value = _mm512_loadu_ps(sums.add((row * V + v) * TILE));
                    if !matches!(update, Update::Set) {
                        value = _mm512_fmadd_ps(factor, _mm512_maskz_loadu_ps(lanes, target), value);
                    }
                    _mm512_mask_storeu_ps(target, lanes, value);
                }
            }
        }
    }
}

/// Gathers rows of A; zeros beyond the last step to a multiple of 16. Rows beyond the last keep whatever was there:
/// each reaches its own row of C only.
///
/// # Safety
/// The words of these rows (at most [`ROWS`]) and steps (at most [`STEPS`]) are readable, `to` is [`Gathered`], AVX-512
/// F and BW exist.
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn gather(left: &Left, rows: Range<usize>, steps: Range<usize>, to: *mut u32) {
    let height = rows.len().next_multiple_of(TILE);
    for first in (0..steps.len()).step_by(TILE) {
        let count = (steps.len() - first).min(TILE);
        // SAFETY: rows and steps inside A by the caller; the buffer has room for the most of both.
        unsafe {
            let to = to.add(first * height);
            let from = left.at.add(rows.start * left.row + (steps.start + first) * left.step);
            if left.step == 1 {
                let present: u16 = if count == TILE { u16::MAX } else { (1 << count) - 1 };
                for row in 0..rows.len() {
                    let words = _mm512_maskz_loadu_epi32(present, from.add(row * left.row).cast());
                    _mm512_store_si512(to.add(row * TILE).cast(), words);
                }
            } else {
                // Steps are the lanes of the transposition: those beyond the last become zero.
                for row in (0..rows.len()).step_by(TILE) {
                    let job = Transpose {
                        source: from.add(row * left.row).cast(),
                        stride_bytes: 4 * left.step,
                        lanes: count,
                        words: (rows.len() - row).min(TILE),
                        target: to.add(row * TILE),
                        width: TILE,
                        written: TILE,
                    };
                    transpose(Isa::Avx512Bf16, job);
                }
            }
        }
    }
}
