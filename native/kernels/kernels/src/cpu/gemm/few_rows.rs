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
use crate::cpu::gemm::few_rows_dense::{DenseRows, Source};
#[cfg(target_arch = "x86_64")]
use crate::cpu::gemm::few_rows_quant4::{Layout, Quant4Rows};
use crate::cpu::gemm::kernel::ComputeDtype;
use crate::cpu::gemm::matrix::{Elements, Matrix};
use crate::cpu::gemm::product::Start;
use crate::cpu::gemm::row_load::{load_f32, round_in_place};
#[cfg(target_arch = "x86_64")]
use crate::cpu::pool::SharedMut;
use crate::cpu::simd::dispatch;
use std::cell::Cell;

/// Most rows of x for which this is faster than packing.
pub const FEW_ROWS: usize = 8;

/// Rows of x in one pass over a weight row: their sums and the weights fill the registers of AVX2.
pub const GROUP: usize = 4;

/// Bytes of weights between the one that is used and the one that is asked for, into the second cache: a request for
/// the first one waits in one of the few places for its misses until memory answers, and these then bound the speed.
pub const AHEAD: usize = 4096;

/// The same for 4-bit weights, whose lines take longer to use.
pub const AHEAD_QUANT4: usize = 8192;

/// Bytes of weights per task: small enough that threads finish together, large enough that beginning a task and its
/// stream costs little.
const TASK_BYTES: std::ops::RangeInclusive<usize> = 16 << 10..=1 << 20;

/// Tasks of a weight whose size lets them be within [`TASK_BYTES`].
const TASKS: usize = 16;

thread_local! {
    static ROUNDED: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
    static LAID_OUT: Cell<Vec<WordBuffer>> = const { Cell::new(Vec::new()) };
    static STAGED: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
    static SUMS: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
}

/// One product with x: c = start + alpha · x · weightᵀ.
pub struct Product<'a> {
    /// `[N, K]`.
    pub weight: Matrix<'a>,
    /// Factor.
    pub alpha: f32,
    /// What c holds before.
    pub start: Start<'a>,
    /// `[M, N]`.
    pub c: &'a mut [f32],
}

/// c = start + alpha · x · weightᵀ for x `[M, K]` float32 with M of at most [`FEW_ROWS`], weight `[N, K]`, c `[M, N]`.
///
/// # Panics
/// When extents disagree or x is not a contiguous float32 matrix.
pub fn few_rows(gemm: &Gemm<'_>, x: &Matrix<'_>, weight: &Matrix<'_>, alpha: f32, start: Start<'_>, c: &mut [f32]) {
    few_rows_together(gemm, x, &mut [Product { weight: *weight, alpha, start, c }]);
}

/// Several products of the same x, as one loop of the threads: between small products they would wait for each other.
///
/// # Panics
/// As [`few_rows`].
pub fn few_rows_together(gemm: &Gemm<'_>, x: &Matrix<'_>, products: &mut [Product<'_>]) {
    let (rows, depth) = (x.rows, x.columns);
    let Elements::F32(values) = x.elements else { panic!("x is float32") };
    assert_eq!(x.stride, depth, "x is contiguous");
    let exact = &values[x.offset..x.offset + rows * depth];
    let mut buffer = ROUNDED.take();
    let rounded = match gemm.compute {
        ComputeDtype::Bf16 => {
            let rounded = buffer.floats(rows * depth);
            rounded.copy_from_slice(exact);
            round_in_place(gemm.kernel.isa, rounded);
            &*rounded
        }
        ComputeDtype::F32 => exact,
    };
    let forms: Vec<Form<'_>> = products.iter().map(|product| Form::of(gemm, &product.weight)).collect();
    let mut buffers = LAID_OUT.take();
    buffers.resize_with(buffers.len().max(forms.len()), WordBuffer::new);
    // Products of one form share what it makes of x.
    let first_alike = |index: usize| (0..index).find(|other| forms[*other].is_alike(&forms[index])).unwrap_or(index);
    let laid_out: Vec<&[u32]> = forms
        .iter()
        .zip(&mut buffers)
        .enumerate()
        .map(|(index, (form, buffer))| match first_alike(index) == index {
            true => form.lay_out(exact, rounded, depth, buffer),
            false => &[],
        })
        .collect();
    let works: Vec<Work<'_>> = products
        .iter_mut()
        .zip(&forms)
        .enumerate()
        .map(|(index, (Product { weight, alpha, start, c }, form))| {
            assert_eq!((weight.columns, c.len()), (depth, rows * weight.rows), "extents of a product with few rows");
            let laid_out = laid_out[first_alike(index)];
            let (alpha, start, c) = (*alpha, *start, SharedMut::new(c));
            Work { gemm, form, weight, x: rounded, laid_out, rows, depth, alpha, start, c, step: rows_of_task(weight) }
        })
        .collect();
    let counts: Vec<usize> = works.iter().map(|work| work.weight.rows.div_ceil(work.step)).collect();
    gemm.pool.run_in_streams(counts.iter().sum(), &|task| {
        let mut index = task;
        for (work, count) in works.iter().zip(&counts) {
            if index < *count {
                let first = index * work.step;
                return work.run(first, (first + work.step).min(work.weight.rows));
            }
            index -= count;
        }
    });
    LAID_OUT.set(buffers);
    ROUNDED.set(buffer);
}

/// Weight rows of one task.
fn rows_of_task(weight: &Matrix<'_>) -> usize {
    let row_bytes = weight.bytes().div_ceil(weight.rows.max(1)).max(1);
    let task_bytes = (weight.bytes() / TASKS).clamp(*TASK_BYTES.start(), *TASK_BYTES.end());
    (task_bytes / row_bytes).max(1)
}

/// How a weight is read.
enum Form<'a> {
    /// As it lies, against x in f32. Needs no rounding: bf16 is exact, f32 only counts unrounded.
    Direct(Source<'a>),
    /// bf16 as it lies, where the processor multiplies pairs of bf16.
    #[cfg(target_arch = "x86_64")]
    Pairs(&'a [u16]),
    /// 4-bit weights in whole blocks, decoded in registers.
    #[cfg(target_arch = "x86_64")]
    Quant4(Quant4Rows<'a>),
    /// Decoded or rounded first, a row at a time.
    Staged {
        /// Whether weights are rounded to bf16.
        rounds: bool,
    },
}

impl<'a> Form<'a> {
    fn of(gemm: &Gemm<'_>, weight: &Matrix<'a>) -> Self {
        let rounds = gemm.compute == ComputeDtype::Bf16;
        match weight.elements {
            Elements::Bf16(weights) => {
                // SAFETY: bf16 is a transparent u16.
                let weights = unsafe { std::slice::from_raw_parts(weights.as_ptr().cast::<u16>(), weights.len()) };
                #[cfg(target_arch = "x86_64")]
                if rounds && gemm.kernel.isa.has_native_bf16() && weight.columns.is_multiple_of(few_rows_bf16::STEP) {
                    return Self::Pairs(weights);
                }
                Self::Direct(Source::Bf16(weights))
            }
            Elements::F32(weights) if !rounds => Self::Direct(Source::F32(weights)),
            #[cfg(target_arch = "x86_64")]
            Elements::Quant4(view) => match Layout::of(gemm.kernel.isa, rounds, &view, weight) {
                Some(layout) => {
                    Self::Quant4(Quant4Rows { view, layout, rounds, depth: weight.columns, stride: weight.stride })
                }
                None => Self::Staged { rounds },
            },
            _ => Self::Staged { rounds },
        }
    }

    /// Whether both lay the same x out alike.
    fn is_alike(&self, other: &Form<'_>) -> bool {
        match (self, other) {
            #[cfg(target_arch = "x86_64")]
            (Self::Quant4(rows), Form::Quant4(others)) => rows.layout == others.layout,
            #[cfg(target_arch = "x86_64")]
            (Self::Pairs(_), Form::Pairs(_)) => true,
            _ => false,
        }
    }

    /// x `[M, K]` as this form reads it; nothing where that is f32 as it lies.
    fn lay_out<'b>(&self, exact: &[f32], rounded: &[f32], depth: usize, buffer: &'b mut WordBuffer) -> &'b [u32] {
        #[cfg(target_arch = "x86_64")]
        match self {
            Self::Pairs(_) => {
                let words = buffer.words(rounded.len() / 2);
                few_rows_bf16::narrow(rounded, words);
                return words;
            }
            Self::Quant4(kernel) => {
                let words = buffer.words(kernel.words(exact.len() / depth.max(1)));
                kernel.lay_out(if kernel.layout.integer_part().is_some() { exact } else { rounded }, words);
                return words;
            }
            Self::Direct(_) | Self::Staged { .. } => {}
        }
        let _ = (exact, rounded, depth, buffer);
        &[]
    }
}

/// One product under way.
struct Work<'a> {
    gemm: &'a Gemm<'a>,
    form: &'a Form<'a>,
    weight: &'a Matrix<'a>,
    /// Rounded already where the product is one in bf16.
    x: &'a [f32],
    /// By the form.
    laid_out: &'a [u32],
    rows: usize,
    depth: usize,
    alpha: f32,
    start: Start<'a>,
    c: SharedMut<f32>,
    /// Weight rows per task.
    step: usize,
}

impl Work<'_> {
    /// One task: weight rows `first..last`.
    fn run(&self, first: usize, last: usize) {
        let Self { weight, rows, alpha, start, c, .. } = self;
        let (rows, columns) = (*rows, weight.rows);
        let mut buffer = SUMS.take();
        let sums = buffer.floats((last - first) * rows);
        self.dots(first, last, sums);
        for row in 0..rows {
            // SAFETY: tasks own disjoint columns of disjoint results.
            let to = unsafe { c.slice(row * columns + first, row * columns + last) };
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
    }

    /// Writes the dot products of weight rows `first..last` with all rows of x, those of one weight row together.
    fn dots(&self, first: usize, last: usize, sums: &mut [f32]) {
        let Self { gemm, weight, x, rows, depth, .. } = *self;
        let count = last - first;
        match self.form {
            Form::Direct(source) => {
                let end = if count == 0 { 0 } else { weight.index(last - 1, 0) + depth };
                let source = source.range(if count == 0 { 0 } else { weight.index(first, 0) }, end);
                let kernel = DenseRows { source, stride: weight.stride, count, x, rows, depth, sums };
                dispatch(gemm.kernel.isa, kernel);
            }
            #[cfg(target_arch = "x86_64")]
            Form::Pairs(weights) => {
                let weights = &weights[weight.index(first, 0)..];
                // SAFETY: the form is chosen only where the instruction set was detected.
                unsafe { few_rows_bf16::dots(weights, weight.stride, count, depth, self.laid_out, sums) };
            }
            #[cfg(target_arch = "x86_64")]
            Form::Quant4(kernel) => {
                let mut scales = STAGED.take();
                kernel.dots(weight.index(first, 0), count, self.laid_out, &mut scales, sums);
                STAGED.set(scales);
            }
            Form::Staged { rounds } => {
                let mut buffer = STAGED.take();
                let staged = buffer.floats(depth);
                for (row, sums) in (first..last).zip(sums.chunks_exact_mut(rows.max(1))) {
                    load_f32(gemm.kernel.isa, weight, row, 0, staged);
                    if *rounds {
                        round_in_place(gemm.kernel.isa, staged);
                    }
                    let source = Source::F32(staged);
                    dispatch(gemm.kernel.isa, DenseRows { source, stride: depth, count: 1, x, rows, depth, sums });
                }
                STAGED.set(buffer);
            }
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
    fn integer_bound(part_values: usize, weight: &Matrix<'_>, column: usize, x: &[f32]) -> f64 {
        let Elements::Quant4(view) = weight.elements else { return 0.0 };
        let parts = x.chunks(part_values).enumerate().map(|(part, x)| {
            let most = f64::from(x.iter().fold(0.0f32, |most, value| most.max(value.abs())));
            let first = weight.index(column, part * part_values);
            let errors = x.iter().enumerate().map(|(index, x)| {
                let absmax = f64::from(view.scale((first + index) >> view.shift()).abs());
                let w = f64::from(view.value(first + index).abs());
                (absmax * f64::from(x.abs()) + most * w + absmax * most / 32_766.0) / 32_766.0
            });
            errors.sum::<f64>()
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
                        let integers = match weight.elements {
                            Elements::Quant4(view) => Layout::of(isa, compute == ComputeDtype::Bf16, &view, &weight)
                                .and_then(Layout::integer_part),
                            _ => None,
                        };
                        #[cfg(not(target_arch = "x86_64"))]
                        let integers: Option<usize> = None;
                        if compute == ComputeDtype::Bf16 && integers.is_none() {
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
                                if let Some(part) = integers {
                                    let x = &x[row * depth..(row + 1) * depth];
                                    bound += 0.5 * integer_bound(part, &weight, column, x);
                                }
                                assert!(error <= bound, "{} {rows}x{depth}x{columns}: {error} > {bound}", isa.name());
                            }
                        }
                    }
                }
            }
        }
    }

    /// Every format beside every other, in one loop: the same bits as alone, since only who computes a row differs.
    #[test]
    fn products_together_equal_those_alone() {
        let pool = Pool::new(2);
        let mut random = TestRandom(5);
        for (rows, depth) in [(1, 128), (3, 256), (8, 64)] {
            let x = random.values(rows * depth);
            let columns = [40, 3, 65, 7, 9, 1, 12, 5, 6];
            let mut owned = Vec::new();
            for columns in columns {
                for format in Owned::formats(&mut random, depth * columns) {
                    owned.push((columns, format));
                }
            }
            for isa in Isa::available() {
                for compute in ComputeDtype::ALL {
                    let gemm = Gemm::new(&pool, isa, compute);
                    let x = Matrix::f32(&x, rows, depth);
                    let weights: Vec<Matrix<'_>> =
                        owned.iter().map(|(columns, owned)| Matrix::new(owned.elements(), *columns, depth)).collect();
                    let mut found: Vec<Vec<f32>> =
                        weights.iter().map(|weight| vec![f32::NAN; rows * weight.rows]).collect();
                    let mut products: Vec<Product<'_>> = weights
                        .iter()
                        .zip(&mut found)
                        .map(|(weight, c)| Product { weight: *weight, alpha: 0.5, start: Start::Overwrite, c })
                        .collect();
                    few_rows_together(&gemm, &x, &mut products);
                    for (weight, found) in weights.iter().zip(&found) {
                        let mut alone = vec![f32::NAN; found.len()];
                        few_rows(&gemm, &x, weight, 0.5, Start::Overwrite, &mut alone);
                        assert_eq!(*found, alone, "{} {rows}x{depth}x{}", isa.name(), weight.rows);
                    }
                }
            }
        }
    }
}
