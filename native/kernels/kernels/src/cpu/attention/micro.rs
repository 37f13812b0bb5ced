//! The matrix product inside attention: C (+)= A · B with any strides of A, B packed in panels.

use crate::cpu::simd::{Kernel, Simd};

/// C[m × n] (+)= A[m × k] · B[k × n].
///
/// A(i, p) is at `a + i·a_row + p·a_column`. B is packed in panels of `TILE_VECTORS · LANES` columns,
/// zero-padded: B(p, j) at `b + (j / width)·panel + p·width + j % width`. C(i, j) is at `c + i·c_row + j`.
/// Only the first n columns of C are touched.
pub struct Product {
    /// Rows of C.
    pub m: usize,
    /// Columns of C.
    pub n: usize,
    /// Inner extent.
    pub k: usize,
    /// Left operand.
    pub a: *const f32,
    /// Stride between rows of A.
    pub a_row: usize,
    /// Stride between columns of A.
    pub a_column: usize,
    /// Packed right operand.
    pub b: *const f32,
    /// Distance between panels of B.
    pub panel: usize,
    /// Result.
    pub c: *mut f32,
    /// Stride between rows of C.
    pub c_row: usize,
    /// Adds to C instead of overwriting it.
    pub accumulate: bool,
}

/// Columns per panel.
#[inline(always)]
pub fn panel_width<S: Simd>() -> usize {
    S::LANES * S::TILE_VECTORS
}

impl Product {
    /// Runs the product.
    ///
    /// # Safety
    /// All addresses described above must be valid, and C may not overlap A or B.
    #[inline(always)]
    pub unsafe fn multiply<S: Simd>(self, s: S) {
        s.call(self);
    }

    #[inline(always)]
    unsafe fn tile<S: Simd, const R: usize, const V: usize>(&self, s: S, row: usize, column: usize, last: usize) {
        let width = panel_width::<S>();
        // SAFETY: row + R ≤ m and the V vectors from `column` start inside C's n columns; B is padded.
        unsafe {
            let a = self.a.add(row * self.a_row);
            let mut b = self.b.add(column / width * self.panel + column % width);
            let mut sums = [[s.splat(0.0); V]; R];
            for p in 0..self.k {
                let mut right = [s.splat(0.0); V];
                for (v, value) in right.iter_mut().enumerate() {
                    *value = s.load(b.add(v * S::LANES));
                }
                for (r, sums) in sums.iter_mut().enumerate() {
                    let left = s.splat(*a.add(r * self.a_row + p * self.a_column));
                    for (sum, value) in sums.iter_mut().zip(right) {
                        *sum = s.fma(left, value, *sum);
                    }
                }
                b = b.add(width);
            }
            for (r, sums) in sums.into_iter().enumerate() {
                let c = self.c.add((row + r) * self.c_row + column);
                for (v, sum) in sums.into_iter().enumerate() {
                    let at = c.add(v * S::LANES);
                    if v + 1 < V || last == S::LANES {
                        let sum = if self.accumulate { s.add(s.load(at), sum) } else { sum };
                        s.store(at, sum);
                    } else {
                        let sum = if self.accumulate { s.add(s.load_part(at, last), sum) } else { sum };
                        s.store_part(at, last, sum);
                    }
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn column_block<S: Simd, const V: usize>(&self, s: S, column: usize) {
        let last = (self.n - column - (V - 1) * S::LANES).min(S::LANES);
        let mut row = 0;
        while row < self.m {
            let rows = (self.m - row).min(S::TILE_ROWS);
            // SAFETY: rows and columns are inside C.
            unsafe {
                match rows {
                    1 => self.tile::<S, 1, V>(s, row, column, last),
                    2 => self.tile::<S, 2, V>(s, row, column, last),
                    3 => self.tile::<S, 3, V>(s, row, column, last),
                    4 => self.tile::<S, 4, V>(s, row, column, last),
                    5 => self.tile::<S, 5, V>(s, row, column, last),
                    _ => self.tile::<S, 6, V>(s, row, column, last),
                }
            }
            row += rows;
        }
    }
}

impl Kernel for Product {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut column = 0;
        while column < self.n {
            let vectors = (self.n - column).div_ceil(S::LANES).min(S::TILE_VECTORS);
            // SAFETY: `multiply`'s contract; a block never crosses a panel because panels hold
            // TILE_VECTORS vectors and blocks are taken largest first.
            unsafe {
                if vectors >= 4 && S::TILE_VECTORS >= 4 {
                    self.column_block::<S, 4>(s, column);
                    column += 4 * S::LANES;
                } else if vectors >= 2 && S::TILE_VECTORS >= 2 {
                    self.column_block::<S, 2>(s, column);
                    column += 2 * S::LANES;
                } else {
                    self.column_block::<S, 1>(s, column);
                    column += S::LANES;
                }
            }
        }
    }
}
