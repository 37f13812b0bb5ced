//! Dot products of a few rows with weights that are read as they lie.

use crate::cpu::gemm::few_rows::{AHEAD, GROUP};
use crate::cpu::simd::{Kernel, Simd, prefetch_far};

/// Weights that are read as they lie.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// 32-bit floats.
    F32(&'a [f32]),
    /// Upper halves of them.
    Bf16(&'a [u16]),
}

impl Source<'_> {
    /// Those at `start..end`.
    pub fn range(&self, start: usize, end: usize) -> Self {
        match self {
            Self::F32(values) => Self::F32(&values[start..end]),
            Self::Bf16(values) => Self::Bf16(&values[start..end]),
        }
    }

    #[inline(always)]
    fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    #[inline(always)]
    fn value(&self, at: usize) -> f32 {
        match self {
            Self::F32(values) => values[at],
            Self::Bf16(values) => f32::from_bits(u32::from(values[at]) << 16),
        }
    }

    /// # Safety
    /// A whole vector of elements begins at `at`.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self, s: S, at: usize) -> S::F {
        // SAFETY: by the caller.
        unsafe {
            match self {
                Self::F32(values) => s.load(values.as_ptr().add(at)),
                Self::Bf16(values) => s.load_bf16(values.as_ptr().add(at)),
            }
        }
    }

    /// Asks for the cache lines of `count` elements that lie [`AHEAD`] bytes behind `at`.
    #[inline(always)]
    fn prefetch(&self, at: usize, count: usize) {
        let (address, size) = match self {
            Self::F32(values) => (values.as_ptr().wrapping_add(at).cast::<u8>(), 4),
            Self::Bf16(values) => (values.as_ptr().wrapping_add(at).cast::<u8>(), 2),
        };
        for line in (0..count * size).step_by(64) {
            prefetch_far(address.wrapping_add(AHEAD + line));
        }
    }
}

/// Dot products of `count` weight rows, `stride` elements apart, with every row of x; those of one weight row together.
pub struct DenseRows<'a> {
    /// The weights, from the first row on.
    pub source: Source<'a>,
    /// Elements from one weight row to the next.
    pub stride: usize,
    /// Weight rows.
    pub count: usize,
    /// x `[rows, depth]`.
    pub x: &'a [f32],
    /// M.
    pub rows: usize,
    /// K.
    pub depth: usize,
    /// `[count, rows]`.
    pub sums: &'a mut [f32],
}

impl Kernel for DenseRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        assert!(self.count == 0 || self.source.len() >= (self.count - 1) * self.stride + self.depth);
        assert_eq!((self.x.len(), self.sums.len()), (self.rows * self.depth, self.rows * self.count));
        for index in 0..self.count {
            for group in (0..self.rows).step_by(GROUP) {
                match self.rows - group {
                    1 => self.dots::<S, 1, 4>(s, index, group),
                    2 => self.dots::<S, 2, 4>(s, index, group),
                    3 => self.dots::<S, 3, 2>(s, index, group),
                    _ => self.dots::<S, 4, 2>(s, index, group),
                }
            }
        }
    }
}

impl DenseRows<'_> {
    /// `M` rows of x, `U` vectors of weights at a time: enough sums under way to hide the latency of an addition.
    #[inline(always)]
    fn dots<S: Simd, const M: usize, const U: usize>(&mut self, s: S, index: usize, group: usize) {
        let (base, depth) = (index * self.stride, self.depth);
        let x = &self.x[group * depth..(group + M) * depth];
        let mut sums = [[s.splat(0.0); U]; M];
        let step = U * S::LANES;
        let (steps, vectors) = (depth / step * step, depth / S::LANES * S::LANES);
        for at in (0..steps).step_by(step) {
            if group == 0 {
                self.source.prefetch(base + at, step);
            }
            for u in 0..U {
                let at = at + u * S::LANES;
                // SAFETY: whole vectors of a row of weights and of rows of x.
                unsafe {
                    let weight = self.source.load(s, base + at);
                    for m in 0..M {
                        sums[m][u] = s.fma(s.load(x.as_ptr().add(m * depth + at)), weight, sums[m][u]);
                    }
                }
            }
        }
        for at in (steps..vectors).step_by(S::LANES) {
            // SAFETY: as above.
            unsafe {
                let weight = self.source.load(s, base + at);
                for m in 0..M {
                    sums[m][0] = s.fma(s.load(x.as_ptr().add(m * depth + at)), weight, sums[m][0]);
                }
            }
        }
        for m in 0..M {
            let mut total = sums[m][0];
            for u in 1..U {
                total = s.add(total, sums[m][u]);
            }
            let mut sum = s.sum(total);
            for at in vectors..depth {
                sum += x[m * depth + at] * self.source.value(base + at);
            }
            self.sums[index * self.rows + group + m] = sum;
        }
    }
}
