//! The matrix product inside attention: C (+)= A · B with any strides of A, B packed in panels.

use crate::cpu::simd::{Kernel, Simd};

/// What the causal mask spares a product, with i, j and p as indices of C's rows, C's columns and the inner extent, and
/// queries of `group` rows of which the first stands `offset` keys behind the first key of the tile.
#[derive(Clone, Copy, Debug)]
pub enum Causal {
    /// Nothing.
    Everything,
    /// C(i, j) is not needed where i > j / group + offset; it may be left as it is.
    Scores {
        /// Rows per query.
        group: usize,
        /// Position of the first query less that of the first key.
        offset: isize,
    },
    /// A(i, p) is zero where p > i / group + offset.
    QueriesByKeys {
        /// Rows per query.
        group: usize,
        /// Position of the first query less that of the first key.
        offset: isize,
    },
    /// A(i, p) is zero where i > p / group + offset.
    KeysByQueries {
        /// Rows per query.
        group: usize,
        /// Position of the first query less that of the first key.
        offset: isize,
    },
}

impl Causal {
    /// Rows of C needed for columns up to `last`, of `m`.
    #[inline(always)]
    fn rows(self, last: usize, m: usize) -> usize {
        match self {
            Causal::Scores { group, offset } => ((last / group) as isize + offset + 1).clamp(0, m as isize) as usize,
            _ => m,
        }
    }

    /// Inner indices that rows `first..=last` need, of `k`.
    #[inline(always)]
    fn inner(self, first: usize, last: usize, k: usize) -> (usize, usize) {
        match self {
            Causal::QueriesByKeys { group, offset } => {
                (0, ((last / group) as isize + offset + 1).clamp(0, k as isize) as usize)
            }
            Causal::KeysByQueries { group, offset } => (((first as isize - offset).max(0) as usize * group).min(k), k),
            _ => (0, k),
        }
    }
}

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
    /// What need not be computed.
    pub causal: Causal,
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
            let (from, to) = self.causal.inner(row, row + R - 1, self.k);
            let mut a = self.a.add(row * self.a_row + from * self.a_column);
            let mut b = self.b.add(column / width * self.panel + column % width + from * width);
            let mut sums = [[s.splat(0.0); V]; R];
            macro_rules! step {
                () => {
                    let mut right = [s.splat(0.0); V];
                    for (v, value) in right.iter_mut().enumerate() {
                        *value = s.load(b.add(v * S::LANES));
                    }
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let left = s.splat(*a.add(r * self.a_row));
                        for (sum, value) in sums.iter_mut().zip(right) {
                            *sum = s.fma(left, value, *sum);
                        }
                    }
                    a = a.wrapping_add(self.a_column);
                    b = b.wrapping_add(width);
                };
            }
            // Four steps at a time: the processor foresees the end of a loop of a few dozen rounds.
            let count = to.saturating_sub(from);
            for _ in 0..count / 4 {
                step!();
                step!();
                step!();
                step!();
            }
            for _ in 0..count % 4 {
                step!();
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
        let needed = self.causal.rows((column + V * S::LANES).min(self.n) - 1, self.m);
        let m = needed.next_multiple_of(S::TILE_ROWS).min(self.m);
        let mut row = 0;
        while row < m {
            let rows = (m - row).min(S::TILE_ROWS);
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

#[cfg(test)]
mod tests {
    use super::{Causal, Product, panel_width};
    use crate::cpu::isa::Isa;
    use crate::cpu::simd::{Kernel, Simd, dispatch};
    use crate::rng::normal_at;

    /// Packs B and multiplies.
    struct Packed<'a> {
        product: Product,
        b: &'a [f32],
        memory: Vec<f32>,
    }

    impl Kernel for Packed<'_> {
        type Output = ();

        #[inline(always)]
        fn run<S: Simd>(mut self, s: S) {
            let (width, n, k) = (panel_width::<S>(), self.product.n, self.product.k);
            self.memory.resize(n.next_multiple_of(width) * k, 0.0);
            for p in 0..k {
                for j in 0..n {
                    self.memory[j / width * width * k + p * width + j % width] = self.b[p * n + j];
                }
            }
            let product = Product { b: self.memory.as_ptr(), panel: width * k, ..self.product };
            // SAFETY: the caller's slices have the extents of the product; B was packed above.
            unsafe { product.multiply(s) };
        }
    }

    #[test]
    fn what_the_causal_mask_spares_changes_nothing_that_is_needed() {
        for (isa, group, offset, m, n, k) in Isa::available().into_iter().flat_map(|isa| {
            [(1, 0, 13, 40, 16), (2, 5, 24, 70, 9), (3, -4, 31, 33, 50), (2, 40, 7, 65, 30), (4, -1, 96, 64, 64)]
                .map(move |(group, offset, m, n, k)| (isa, group, offset, m, n, k))
        }) {
            for kind in 0..4 {
                let causal = match kind {
                    0 => Causal::Everything,
                    1 => Causal::Scores { group, offset },
                    2 => Causal::QueriesByKeys { group, offset },
                    _ => Causal::KeysByQueries { group, offset },
                };
                let is_zero = |i: usize, p: usize| match causal {
                    Causal::QueriesByKeys { .. } => p as isize > (i / group) as isize + offset,
                    Causal::KeysByQueries { .. } => i as isize > (p / group) as isize + offset,
                    _ => false,
                };
                let is_needed = |i: usize, j: usize| kind != 1 || i as isize <= (j / group) as isize + offset;
                let values = |seed: u64, count: usize| -> Vec<f32> {
                    (0..count as u64).map(|index| normal_at(seed, index) as f32).collect()
                };
                let (mut a, b) = (values(1, m * k), values(2, k * n));
                (0..m * k).filter(|at| is_zero(at / k, at % k)).for_each(|at| a[at] = 0.0);
                for accumulate in [false, true] {
                    let mut c = vec![3.0f32; m * n];
                    let product = Product {
                        m,
                        n,
                        k,
                        a: a.as_ptr(),
                        a_row: k,
                        a_column: 1,
                        b: std::ptr::null(),
                        panel: 0,
                        c: c.as_mut_ptr(),
                        c_row: n,
                        accumulate,
                        causal,
                    };
                    dispatch(isa, Packed { product, b: &b, memory: Vec::new() });
                    for (at, found) in c.iter().enumerate() {
                        let (i, j) = (at / n, at % n);
                        let terms = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j]));
                        let start = if accumulate { 3.0 } else { 0.0 };
                        let (sum, size) =
                            terms.fold((start, start), |(sum, size), term| (sum + term, size + term.abs()));
                        // Each of k additions, and products where they are not fused, rounds by 2^-24 at most.
                        let bound = 2.0 * size * (k + 1) as f64 * 2f64.powi(-24);
                        let error = (f64::from(*found) - sum).abs();
                        assert!(!is_needed(i, j) || error <= bound, "{} {causal:?} ({i}, {j}): {error}", isa.name());
                    }
                }
            }
        }
    }
}
