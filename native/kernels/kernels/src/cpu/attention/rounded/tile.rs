//! Matrix products of bf16 pairs inside attention: C (+)= A · B, two inner elements per step (`vdpbf16ps`), sums
//! in f32.
//!
//! A word holds elements 2p and 2p + 1 of the inner extent, the first in the low half. A tile is 6 rows of up to 64
//! columns: 24 of 32 registers are sums, four hold B and one the broadcast word of A.

use super::ahead::Ahead;
use super::seen::Seen;
use std::arch::x86_64::*;
use std::mem::transmute;
use std::ops::Range;

/// Columns per panel of B.
pub const PANEL: usize = 64;

/// Rows per tile, at most.
const ROWS: usize = 6;

/// A: word p of row i at `at + i·row + p·step`.
#[derive(Clone, Copy)]
pub struct Left {
    /// First word.
    pub at: *const u32,
    /// Words between rows.
    pub row: usize,
    /// Words between steps.
    pub step: usize,
}

/// B: word p of column j at `at + (j / 64)·panel + p·64 + j % 64`, zero beyond the last column.
#[derive(Clone, Copy)]
pub struct Right {
    /// First word.
    pub at: *const u32,
    /// Words between panels.
    pub panel: usize,
}

/// What happens to C.
#[derive(Clone, Copy)]
pub enum Update {
    /// C = A·B.
    Set,
    /// C += A·B.
    Add,
    /// C = factor[row]·C + A·B.
    Rescale(*const f32),
}

/// What the inner extent is made of, which decides what a mask lets the product skip.
#[derive(Clone, Copy)]
pub enum Inner {
    /// Elements of a head; rows are keys and columns queries. Vectors of C that the mask hides are not written.
    Head(usize),
    /// Pairs of query rows; rows are keys. Only queries that see a key of the tile take part.
    Queries,
    /// Pairs of keys; rows are query rows. Only keys that the tile's queries see take part.
    Keys,
}

/// C (+)= A · B in some rows. C(i, j) is at `target + i·stride + j`; only its first `columns` columns are touched.
pub struct Product<'a> {
    /// Rows of A and C.
    pub rows: Range<usize>,
    /// Columns of C.
    pub columns: usize,
    /// Inner extent.
    pub inner: Inner,
    /// The mask.
    pub seen: &'a Seen,
    /// Left operand.
    pub left: Left,
    /// Right operand.
    pub right: Right,
    /// C.
    pub target: *mut f32,
    /// Floats between rows of C.
    pub stride: usize,
    /// What happens to C.
    pub update: Update,
    /// Whether this thread holds tile registers ([`crate::cpu::amx::Tiles`]).
    pub tiles: bool,
}

impl Product<'_> {
    /// Runs the product, asking for memory that is `ahead` meanwhile.
    ///
    /// # Safety
    /// AVX-512 F, BW and BF16 exist, all addresses described above are valid, and C overlaps neither A nor B.
    pub unsafe fn multiply(&self, ahead: &mut Ahead) {
        if self.tiles {
            // SAFETY: by the caller.
            return unsafe { self.multiply_tiles(ahead) };
        }
        let tiles = self.rows.len().div_ceil(ROWS);
        for column in (0..self.columns).step_by(PANEL) {
            let width = PANEL.min(self.columns - column);
            let mut row = self.rows.start;
            for index in 0..tiles {
                // Rows are dealt evenly: a last tile of one row would run at a sixth of the speed.
                let rows = (self.rows.end - row).div_ceil(tiles - index);
                // SAFETY: rows and columns lie inside C.
                unsafe { self.block(row, rows, column, width) };
                ahead.step();
                row += rows;
            }
        }
    }

    /// What the mask leaves of some rows of C; no columns where there is nothing to do.
    pub fn part(&self, rows: Range<usize>) -> Part {
        let all = 0..self.columns;
        let part = match self.inner {
            Inner::Head(extent) => {
                let seen = self.seen.rows_of(rows);
                // Padding beyond the last row belongs to the last vector.
                let end = if seen.end == self.seen.rows() { self.columns } else { seen.end.next_multiple_of(16) };
                let columns = if seen.is_empty() { 0..0 } else { seen.start / 16 * 16..end.min(self.columns) };
                Part { columns, steps: 0..extent.div_ceil(2) }
            }
            Inner::Queries => Part { columns: all, steps: pairs(self.seen.rows_of(rows)) },
            Inner::Keys => Part { columns: all, steps: pairs(self.seen.keys_of(rows)) },
        };
        let idle = part.steps.is_empty() && matches!(self.update, Update::Add);
        if idle { Part { columns: 0..0, ..part } } else { part }
    }

    /// Rows `row..row + rows` of the panel of columns at `column`.
    ///
    /// # Safety
    /// As [`Self::multiply`].
    unsafe fn block(&self, row: usize, rows: usize, column: usize, width: usize) {
        let Part { columns, steps } = self.part(row..row + rows);
        let first = columns.start.saturating_sub(column).min(width);
        let last = columns.end.saturating_sub(column).min(width);
        if first >= last {
            return;
        }
        let vectors = (last - first).div_ceil(16);
        let lanes = last - first - 16 * (vectors - 1);
        let at = column + first;
        // SAFETY: the offsets stay inside the operands, whose extents the caller guarantees.
        unsafe {
            let job = Tile {
                steps: steps.len(),
                left: self.left.at.add(row * self.left.row + steps.start * self.left.step),
                row: self.left.row,
                step: self.left.step,
                right: self.right.at.add(at / PANEL * self.right.panel + steps.start * PANEL + at % PANEL),
                target: self.target.add(row * self.stride + at),
                stride: self.stride,
                update: match self.update {
                    Update::Rescale(factors) => Update::Rescale(factors.add(row)),
                    other => other,
                },
                last: if lanes == 16 { u16::MAX } else { (1 << lanes) - 1 },
            };
            match vectors {
                1 => rows_of_tile::<1>(rows, &job),
                2 => rows_of_tile::<2>(rows, &job),
                3 => rows_of_tile::<3>(rows, &job),
                _ => rows_of_tile::<4>(rows, &job),
            }
        }
    }
}

/// Columns of C (from a multiple of 16 on) and inner pairs that take part.
pub struct Part {
    pub columns: Range<usize>,
    pub steps: Range<usize>,
}

/// Pairs that cover a range.
fn pairs(range: Range<usize>) -> Range<usize> {
    range.start / 2..range.end.div_ceil(2)
}

/// One tile of C.
struct Tile {
    steps: usize,
    left: *const u32,
    row: usize,
    step: usize,
    right: *const u32,
    target: *mut f32,
    stride: usize,
    update: Update,
    /// Lanes of the last vector.
    last: u16,
}

/// # Safety
/// As [`Product::multiply`].
unsafe fn rows_of_tile<const V: usize>(rows: usize, job: &Tile) {
    // SAFETY: by the caller.
    unsafe {
        match rows {
            1 => tile::<1, V>(job),
            2 => tile::<2, V>(job),
            3 => tile::<3, V>(job),
            4 => tile::<4, V>(job),
            5 => tile::<5, V>(job),
            _ => tile::<6, V>(job),
        }
    }
}

/// # Safety
/// As [`Product::multiply`].
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn tile<const R: usize, const V: usize>(job: &Tile) {
    let (mut left, mut right) = (job.left, job.right);
    let (row, step, stride) = (job.row, job.step, job.stride);
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    // SAFETY: R rows of A and V vectors of B hold `steps` words; the tile of C lies inside its matrix, and masked
    // lanes of the last vector are not touched. Prefetches may point anywhere.
    unsafe {
        for r in 0..R {
            for v in 0..V {
                _mm_prefetch::<_MM_HINT_T0>(job.target.wrapping_add(r * stride + 16 * v).cast());
            }
        }
        for _ in 0..job.steps {
            let mut b = [_mm512_setzero_si512(); V];
            for v in 0..V {
                b[v] = _mm512_loadu_si512(right.add(16 * v).cast());
            }
            for r in 0..R {
                let a = _mm512_set1_epi32(*left.add(r * row).cast::<i32>());
                for v in 0..V {
                    // Both casts only rename the register: each lane holds a pair of bf16.
                    sums[r][v] = _mm512_dpbf16_ps(
                        sums[r][v],
                        transmute::<__m512i, __m512bh>(a),
                        transmute::<__m512i, __m512bh>(b[v]),
                    );
                }
            }
            left = left.wrapping_add(step);
            right = right.wrapping_add(PANEL);
        }
        for r in 0..R {
            let factor = match job.update {
                Update::Rescale(factors) => _mm512_set1_ps(*factors.add(r)),
                _ => _mm512_set1_ps(1.0),
            };
            for v in 0..V {
                let target = job.target.add(r * stride + 16 * v);
                let lanes = if v + 1 == V { job.last } else { u16::MAX };
                let mut value = sums[r][v];
                if !matches!(job.update, Update::Set) {
                    value = _mm512_fmadd_ps(factor, _mm512_maskz_loadu_ps(lanes, target), value);
                }
                if lanes == u16::MAX {
                    _mm512_storeu_ps(target, value);
                } else {
                    _mm512_mask_storeu_ps(target, lanes, value);
                }
            }
        }
    }
}
