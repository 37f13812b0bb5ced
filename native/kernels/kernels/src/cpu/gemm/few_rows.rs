//! Products with few rows, as in decoding: every weight is read once from memory and used at once, unpacked.
//!
//! A panel kernel would first write the weights anew; here they stream past a few rows of x that stay in the
//! nearest cache, so that the time is that of reading them. Weight rows are taken one after the other, in the order in
//! which they lie in memory: several at a time are several short streams, which the prefetcher of the processor begins
//! anew at every row, and reach half of the speed.

use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::driver::Gemm;
#[cfg(target_arch = "x86_64")]
use crate::cpu::gemm::few_rows_bf16;
#[cfg(target_arch = "x86_64")]
use crate::cpu::gemm::few_rows_quant4::{Layout, Quant4Rows};
use crate::cpu::gemm::kernel::ComputeDtype;
use crate::cpu::gemm::matrix::{Elements, Matrix};
use crate::cpu::gemm::product::Start;
use crate::cpu::gemm::row_load::{load_f32, round_in_place};
#[cfg(target_arch = "x86_64")]
use crate::cpu::isa::Isa;
use crate::cpu::pool::SharedMut;
use crate::cpu::simd::{Kernel, Simd, dispatch, prefetch};
use std::cell::Cell;

/// Most rows of x for which this is faster than packing.
pub const FEW_ROWS: usize = 8;

/// Rows of x in one pass over a weight row: their sums and the weights fill the registers of AVX2.
pub const GROUP: usize = 4;

/// Bytes of weights between the one that is used and the one that is asked for.
pub const AHEAD: usize = 4096;

/// Bytes of weights per task: small enough that threads finish together, large enough that beginning a task and its
/// stream costs little.
const TASK_BYTES: std::ops::RangeInclusive<usize> = 16 << 10..=1 << 20;

/// Tasks of a weight whose size lets them be within [`TASK_BYTES`].
const TASKS: usize = 32;

thread_local! {
    static ROUNDED: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
    static LAID_OUT: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
    static STAGED: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
    static SUMS: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
}

/// c = start + alpha · x · weightᵀ for x `[M, K]` float32 with M of at most [`FEW_ROWS`], weight `[N, K]`, c `[M, N]`.
///
/// # Panics
/// When extents disagree or x is not a contiguous float32 matrix.
pub fn few_rows(gemm: &Gemm<'_>, x: &Matrix<'_>, weight: &Matrix<'_>, alpha: f32, start: Start<'_>, c: &mut [f32]) {
    let (rows, depth, columns) = (x.rows, x.columns, weight.rows);
    assert_eq!((weight.columns, c.len()), (depth, rows * columns), "extents of a product with few rows");
    let Elements::F32(values) = x.elements else { panic!("x is float32") };
    assert_eq!(x.stride, depth, "x is contiguous");
    let values = &values[x.offset..x.offset + rows * depth];
    let rounds = gemm.compute == ComputeDtype::Bf16;
    let mut buffer = ROUNDED.take();
    let exact = values;
    let values = if rounds {
        let rounded = buffer.floats(rows * depth);
        rounded.copy_from_slice(values);
        round_in_place(gemm.kernel.isa, rounded);
        &*rounded
    } else {
        values
    };
    let work = Work { gemm, x: values, rows, depth, weight, alpha, start, c };
    // Weights that are read as they lie need no rounding: bf16 is exact, f32 only counts unrounded.
    match weight.elements {
        Elements::Bf16(weights) => {
            // SAFETY: bf16 is a transparent u16.
            let weights = unsafe { std::slice::from_raw_parts(weights.as_ptr().cast::<u16>(), weights.len()) };
            #[cfg(target_arch = "x86_64")]
            if rounds && gemm.kernel.isa == Isa::Avx512Bf16 && depth.is_multiple_of(few_rows_bf16::STEP) {
                work.in_pairs(weights);
                ROUNDED.set(buffer);
                return;
            }
            work.direct(Source::Bf16(weights));
        }
        Elements::F32(weights) if !rounds => work.direct(Source::F32(weights)),
        #[cfg(target_arch = "x86_64")]
        Elements::Quant4(view) => match Layout::of(gemm.kernel.isa, rounds, &view, weight) {
            Some(layout) => {
                let x = if layout == Layout::Integers { exact } else { values };
                let work = Work { x, ..work };
                work.decoded_in_registers(Quant4Rows { view, layout, rounds, depth, stride: weight.stride })
            }
            None => work.staged(rounds),
        },
        _ => work.staged(rounds),
    }
    ROUNDED.set(buffer);
}

/// One product; `x` is rounded already where the product is one in bf16.
struct Work<'a, 'c> {
    gemm: &'a Gemm<'a>,
    x: &'a [f32],
    rows: usize,
    depth: usize,
    weight: &'a Matrix<'a>,
    alpha: f32,
    start: Start<'a>,
    c: &'c mut [f32],
}

impl Work<'_, '_> {
    /// Splits the weight rows among the threads. `body` writes the dot products of weight rows `first..last` with all
    /// rows of x, those of one weight row together.
    fn run(self, body: &(dyn Fn(usize, usize, &mut [f32]) + Sync)) {
        let Self { gemm, rows, weight, alpha, start, c, .. } = self;
        let columns = weight.rows;
        let row_bytes = weight.bytes().div_ceil(columns.max(1)).max(1);
        let task_bytes = (weight.bytes() / TASKS).clamp(*TASK_BYTES.start(), *TASK_BYTES.end());
        let target = SharedMut::new(c);
        gemm.pool.for_chunks(columns, (task_bytes / row_bytes).max(1), &|first, last| {
            let mut buffer = SUMS.take();
            let sums = buffer.floats((last - first) * rows);
            body(first, last, sums);
            for row in 0..rows {
                // SAFETY: tasks own disjoint columns.
                let to = unsafe { target.slice(row * columns + first, row * columns + last) };
                let sums = sums.iter().skip(row).step_by(rows).map(|sum| alpha * sum);
                match start {
                    Start::Overwrite => to.iter_mut().zip(sums).for_each(|(to, sum)| *to = sum),
                    Start::Accumulate => to.iter_mut().zip(sums).for_each(|(to, sum)| *to += sum),
                    Start::Bias(bias) => {
                        to.iter_mut().zip(sums).zip(&bias[first..last]).for_each(|((to, sum), bias)| *to = bias + sum);
                    }
                }
            }
            SUMS.set(buffer);
        });
    }

    /// For weights that are read as they lie.
    fn direct(self, source: Source<'_>) {
        let Self { gemm, x, rows, depth, weight, .. } = self;
        self.run(&|first, last, sums| {
            let at = |row: usize| weight.index(row, 0);
            let source = if first == last { source.range(0, 0) } else { source.range(at(first), at(last - 1) + depth) };
            let kernel = DenseRows { source, stride: weight.stride, count: last - first, x, rows, depth, sums };
            dispatch(gemm.kernel.isa, kernel);
        });
    }

    /// For bf16 weights as they lie, where the processor multiplies pairs of bf16.
    #[cfg(target_arch = "x86_64")]
    fn in_pairs(self, weights: &[u16]) {
        let Self { x, rows, depth, weight, .. } = self;
        let mut buffer = LAID_OUT.take();
        let pairs = buffer.words(rows * depth / 2);
        few_rows_bf16::narrow(x, pairs);
        let pairs = &*pairs;
        self.run(&|first, last, sums| {
            let weights = &weights[weight.index(first, 0)..];
            // SAFETY: the caller found the instruction set.
            unsafe { few_rows_bf16::dots(weights, weight.stride, last - first, depth, pairs, sums) };
        });
        LAID_OUT.set(buffer);
    }

    /// For weights that are first decoded or rounded, a row at a time.
    fn staged(self, rounds: bool) {
        let Self { gemm, x, rows, depth, weight, .. } = self;
        self.run(&|first, last, sums| {
            let mut buffer = STAGED.take();
            let staged = buffer.floats(depth);
            for (row, sums) in (first..last).zip(sums.chunks_exact_mut(rows.max(1))) {
                load_f32(gemm.kernel.isa, weight, row, 0, staged);
                if rounds {
                    round_in_place(gemm.kernel.isa, staged);
                }
                let kernel = DenseRows { source: Source::F32(staged), stride: depth, count: 1, x, rows, depth, sums };
                dispatch(gemm.kernel.isa, kernel);
            }
            STAGED.set(buffer);
        });
    }

    /// For 4-bit weights in whole blocks.
    #[cfg(target_arch = "x86_64")]
    fn decoded_in_registers(self, kernel: Quant4Rows<'_>) {
        let Self { x, rows, weight, .. } = self;
        let mut buffer = LAID_OUT.take();
        let laid_out = buffer.words(kernel.words(rows));
        kernel.lay_out(x, laid_out);
        let laid_out = &*laid_out;
        self.run(&|first, last, sums| {
            let mut scales = STAGED.take();
            kernel.dots(weight.index(first, 0), last - first, laid_out, &mut scales, sums);
            STAGED.set(scales);
        });
        LAID_OUT.set(buffer);
    }
}

/// Weights that are read as they lie.
#[derive(Clone, Copy)]
enum Source<'a> {
    F32(&'a [f32]),
    Bf16(&'a [u16]),
}

impl Source<'_> {
    fn range(&self, start: usize, end: usize) -> Self {
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
            prefetch(address.wrapping_add(AHEAD + line));
        }
    }
}

/// Dot products of `count` weight rows, `stride` elements apart, with every row of x; those of one weight row together.
struct DenseRows<'a> {
    source: Source<'a>,
    stride: usize,
    count: usize,
    x: &'a [f32],
    rows: usize,
    depth: usize,
    sums: &'a mut [f32],
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::gemm::tests::{Owned, TestRandom};
    use crate::cpu::isa::Isa;
    use crate::cpu::pool::Pool;

    /// How far the product in integers may be from the exact one, by the bound that its module derives per part; a
    /// hundredth more for the two roundings before that to an integer.
    #[cfg(target_arch = "x86_64")]
    fn integer_bound(weight: &Matrix<'_>, column: usize, x: &[f32]) -> f64 {
        const PART: usize = 32;
        let Elements::Quant4(view) = weight.elements else { return 0.0 };
        let largest =
            |values: &mut dyn Iterator<Item = f32>| f64::from(values.fold(0.0f32, |most, value| most.max(value.abs())));
        let size = |values: &mut dyn Iterator<Item = f32>| values.map(|value| f64::from(value.abs())).sum::<f64>();
        let parts = x.chunks(PART).enumerate().map(|(part, x)| {
            let first = weight.index(column, part * PART);
            let absmax = f64::from(view.scale(first >> view.shift()).abs());
            let most = largest(&mut x.iter().copied());
            let weights = size(&mut (first..first + x.len()).map(|index| view.value(index)));
            (absmax * size(&mut x.iter().copied()) + most * weights + 32.0 * absmax * most / 32_766.0) / 32_766.0
        });
        1.01 * parts.sum::<f64>()
    }

    /// A sum of K products rounded at each step errs by at most K·2^-24·Σ|x||w|. In bf16 mode x and w are rounded to
    /// bf16 before the product here too, so that only the sum differs. Where 4-bit weights are multiplied in integers,
    /// the reference rounds nothing and the bound of that rounding comes on top.
    #[test]
    fn few_rows_equal_a_plain_sum_for_every_format_and_instruction_set() {
        let pool = Pool::new(2);
        let mut random = TestRandom(4);
        for (rows, depth, columns) in
            [(1, 64, 3), (1, 128, 130), (2, 96, 5), (3, 70, 17), (5, 1100, 9), (8, 256, 33), (4, 384, 7), (1, 2048, 65)]
        {
            let x = random.values(rows * depth);
            for owned in Owned::formats(&mut random, depth * columns) {
                let weight = Matrix::new(owned.elements(), columns, depth);
                let mut plain = vec![0.0f32; depth * columns];
                for column in 0..columns {
                    load_f32(Isa::Portable, &weight, column, 0, &mut plain[column * depth..(column + 1) * depth]);
                }
                for isa in Isa::available() {
                    for compute in ComputeDtype::ALL {
                        let gemm = Gemm::new(&pool, isa, compute);
                        let (mut x_used, mut w_used) = (x.clone(), plain.clone());
                        #[cfg(target_arch = "x86_64")]
                        let integers = matches!(weight.elements, Elements::Quant4(view)
                            if Layout::of(isa, compute == ComputeDtype::Bf16, &view, &weight) == Some(Layout::Integers));
                        #[cfg(not(target_arch = "x86_64"))]
                        let integers = false;
                        if compute == ComputeDtype::Bf16 && !integers {
                            round_in_place(Isa::Portable, &mut x_used);
                            round_in_place(Isa::Portable, &mut w_used);
                        }
                        let bias: Vec<f32> = (0..columns).map(|index| index as f32).collect();
                        let mut c = vec![f32::NAN; rows * columns];
                        few_rows(&gemm, &Matrix::f32(&x, rows, depth), &weight, 0.5, Start::Bias(&bias), &mut c);
                        for row in 0..rows {
                            for column in 0..columns {
                                let terms = (0..depth).map(|k| {
                                    f64::from(x_used[row * depth + k]) * f64::from(w_used[column * depth + k])
                                });
                                let size: f64 = terms.clone().map(f64::abs).sum();
                                let expected = f64::from(bias[column]) + 0.5 * terms.sum::<f64>();
                                let error = (f64::from(c[row * columns + column]) - expected).abs();
                                let mut bound =
                                    (depth as f64 + 2.0) * 2f64.powi(-24) * (size + f64::from(bias[column]));
                                #[cfg(target_arch = "x86_64")]
                                if integers {
                                    bound += 0.5 * integer_bound(&weight, column, &x[row * depth..(row + 1) * depth]);
                                }
                                assert!(error <= bound, "{} {rows}x{depth}x{columns}: {error} > {bound}", isa.name());
                            }
                        }
                    }
                }
            }
        }
    }
}
