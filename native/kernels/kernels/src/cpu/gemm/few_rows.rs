//! Products with few rows, as in decoding: every weight is read once from memory and used at once, unpacked.
//!
//! A panel kernel would first write the weights anew; here they stream past a few rows of x that stay in the
//! nearest cache, so that the time is that of reading them.

use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::driver::Gemm;
use crate::cpu::gemm::kernel::ComputeDtype;
use crate::cpu::gemm::matrix::{Elements, Matrix};
use crate::cpu::gemm::product::Start;
use crate::cpu::gemm::row_load::{load_f32, round_in_place};
use crate::cpu::pool::SharedMut;
use crate::cpu::simd::{Kernel, Simd, dispatch};
#[cfg(target_arch = "x86_64")]
use crate::cpu::{gemm::few_rows_quant4, isa::Isa, quant4::Quant4View};
use std::cell::Cell;

/// Most rows of x for which this is faster than packing.
pub const FEW_ROWS: usize = 8;

/// Weight rows that share one pass over x.
const LANES: usize = 4;

/// Rows of x in one pass: with `LANES` weight rows their sums fill half of the registers.
const GROUP: usize = 4;

/// Columns of weights that are decoded or rounded at a time, where they are not read as they lie.
const STAGE: usize = 1024;

thread_local! {
    static ROUNDED: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
    static STAGED: Cell<WordBuffer> = const { Cell::new(WordBuffer::new()) };
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
    let values = if rounds {
        let rounded = buffer.floats(rows * depth);
        rounded.copy_from_slice(values);
        round_in_place(gemm.kernel.isa, rounded);
        &*rounded
    } else {
        values
    };
    // Weights that are read as they lie need no rounding: bf16 is exact, f32 only counts unrounded.
    let direct = match weight.elements {
        Elements::Bf16(_) => true,
        Elements::F32(_) => !rounds,
        Elements::F16(_) | Elements::Quant4(_) => false,
    };
    #[cfg(target_arch = "x86_64")]
    if let Elements::Quant4(view) = weight.elements
        && gemm.kernel.isa == Isa::Avx512Bf16
        && (0..columns).all(|row| few_rows_quant4::fits(&view, depth, weight.index(row, 0)))
    {
        decoded_in_registers(gemm, values, rows, weight, &view, alpha, start, c);
        ROUNDED.set(buffer);
        return;
    }
    let target = SharedMut::new(c);
    let per_task = columns.div_ceil(8 * gemm.pool.threads()).next_multiple_of(LANES).clamp(LANES, 512);
    gemm.pool.for_chunks(columns, per_task, &|first, last| {
        let mut stage = STAGED.take();
        for column in (first..last).step_by(LANES) {
            let lanes = LANES.min(last - column);
            let staged = stage.floats(LANES * STAGE);
            let mut sums = [[0.0f32; LANES]; FEW_ROWS];
            let step = if direct { depth.max(1) } else { STAGE };
            for begin in (0..depth).step_by(step) {
                let count = step.min(depth - begin);
                if !direct {
                    for lane in 0..lanes {
                        let row = &mut staged[lane * STAGE..lane * STAGE + count];
                        load_f32(gemm.kernel.isa, weight, column + lane, begin, row);
                        if rounds {
                            round_in_place(gemm.kernel.isa, row);
                        }
                    }
                }
                let source = match weight.elements {
                    _ if !direct => {
                        Source::F32(std::array::from_fn(|lane| &staged[lane.min(lanes - 1) * STAGE..][..count]))
                    }
                    Elements::F32(values) => Source::F32(std::array::from_fn(|lane| {
                        &values[weight.index(column + lane.min(lanes - 1), begin)..][..count]
                    })),
                    Elements::Bf16(values) => Source::Bf16(std::array::from_fn(|lane| {
                        let row = &values[weight.index(column + lane.min(lanes - 1), begin)..][..count];
                        // SAFETY: bf16 is a transparent u16.
                        unsafe { std::slice::from_raw_parts(row.as_ptr().cast::<u16>(), row.len()) }
                    })),
                    Elements::F16(_) | Elements::Quant4(_) => unreachable!("staged above"),
                };
                for group in (0..rows).step_by(GROUP) {
                    let size = GROUP.min(rows - group);
                    let x = std::array::from_fn(|row| &values[(group + row.min(size - 1)) * depth + begin..][..count]);
                    let sums = &mut sums[group..group + size];
                    dispatch(gemm.kernel.isa, Dots { source, x, sums });
                }
            }
            for (row, sums) in sums.iter().enumerate().take(rows) {
                for (lane, sum) in sums.iter().enumerate().take(lanes) {
                    let at = row * columns + column + lane;
                    // SAFETY: tasks own disjoint columns.
                    unsafe { put(&target, start, at, column + lane, alpha * sum) };
                }
            }
        }
        STAGED.set(stage);
    });
    ROUNDED.set(buffer);
}

/// The same for 4-bit weights in whole blocks.
#[cfg(target_arch = "x86_64")]
fn decoded_in_registers(
    gemm: &Gemm<'_>,
    values: &[f32],
    rows: usize,
    weight: &Matrix<'_>,
    view: &Quant4View<'_>,
    alpha: f32,
    start: Start<'_>,
    c: &mut [f32],
) {
    let (depth, columns) = (weight.columns, weight.rows);
    let rounds = gemm.compute == ComputeDtype::Bf16;
    let mut buffer = STAGED.take();
    let split = buffer.floats(rows * depth);
    for (row, target) in values.chunks_exact(depth.max(1)).zip(split.chunks_exact_mut(depth.max(1))) {
        few_rows_quant4::split_even_odd(row, target);
    }
    let split = &*split;
    let target = SharedMut::new(c);
    let per_task = columns.div_ceil(8 * gemm.pool.threads()).clamp(1, 512);
    gemm.pool.for_chunks(columns, per_task, &|first, last| {
        for column in first..last {
            let from = weight.index(column, 0);
            for group in (0..rows).step_by(GROUP) {
                let size = GROUP.min(rows - group);
                let x = |row: usize| split[(group + row) * depth..][..depth].as_ptr();
                let mut sums = [0.0f32; GROUP];
                // SAFETY: the instruction set was detected; the caller checked the blocks, `x` and the codes their
                // extents.
                unsafe {
                    match size {
                        1 => sums[..1].copy_from_slice(&few_rows_quant4::dots(view, from, depth, [x(0)], rounds)),
                        2 => sums[..2].copy_from_slice(&few_rows_quant4::dots(view, from, depth, [x(0), x(1)], rounds)),
                        3 => {
                            let x = [x(0), x(1), x(2)];
                            sums[..3].copy_from_slice(&few_rows_quant4::dots(view, from, depth, x, rounds));
                        }
                        _ => sums = few_rows_quant4::dots(view, from, depth, [x(0), x(1), x(2), x(3)], rounds),
                    }
                }
                for (row, sum) in sums.iter().enumerate().take(size) {
                    // SAFETY: tasks own disjoint columns.
                    unsafe { put(&target, start, (group + row) * columns + column, column, alpha * sum) };
                }
            }
        }
    });
    STAGED.set(buffer);
}

/// c[at] = start + value.
///
/// # Safety
/// No other task writes this element.
unsafe fn put(target: &SharedMut<f32>, start: Start<'_>, at: usize, column: usize, value: f32) {
    // SAFETY: by the caller.
    let to = &mut unsafe { target.slice(at, at + 1) }[0];
    let before = match start {
        Start::Overwrite => 0.0,
        Start::Accumulate => *to,
        Start::Bias(bias) => bias[column],
    };
    *to = before + value;
}

/// Equal stretches of `LANES` weight rows; rows beyond the last are repeated.
#[derive(Clone, Copy)]
enum Source<'a> {
    F32([&'a [f32]; LANES]),
    Bf16([&'a [u16]; LANES]),
}

/// Adds the dot products of up to `GROUP` rows of x (`sums` tells how many) with `LANES` rows of weights.
struct Dots<'a> {
    source: Source<'a>,
    x: [&'a [f32]; GROUP],
    sums: &'a mut [[f32; LANES]],
}

impl Kernel for Dots<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.sums.len() {
            1 => self.dots::<S, 1>(s),
            2 => self.dots::<S, 2>(s),
            3 => self.dots::<S, 3>(s),
            _ => self.dots::<S, 4>(s),
        }
    }
}

impl Dots<'_> {
    #[inline(always)]
    fn dots<S: Simd, const M: usize>(self, s: S) {
        let count = self.x[0].len();
        let whole = count / S::LANES * S::LANES;
        let mut sums = [[s.splat(0.0); LANES]; M];
        for at in (0..whole).step_by(S::LANES) {
            let mut x = [s.splat(0.0); M];
            for m in 0..M {
                // SAFETY: whole vectors of equally long stretches.
                x[m] = unsafe { s.load(self.x[m].as_ptr().add(at)) };
            }
            for lane in 0..LANES {
                // SAFETY: as above.
                let weight = unsafe {
                    match self.source {
                        Source::F32(rows) => s.load(rows[lane].as_ptr().add(at)),
                        Source::Bf16(rows) => s.load_bf16(rows[lane].as_ptr().add(at)),
                    }
                };
                for m in 0..M {
                    sums[m][lane] = s.fma(x[m], weight, sums[m][lane]);
                }
            }
        }
        for m in 0..M {
            for lane in 0..LANES {
                let mut sum = s.sum(sums[m][lane]);
                for at in whole..count {
                    let weight = match self.source {
                        Source::F32(rows) => rows[lane][at],
                        Source::Bf16(rows) => f32::from_bits(u32::from(rows[lane][at]) << 16),
                    };
                    sum += self.x[m][at] * weight;
                }
                self.sums[m][lane] += sum;
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

    /// A sum of K products rounded at each step errs by at most K·2^-24·Σ|x||w|. In bf16 mode x and w are rounded to
    /// bf16 before the product here too, so that only the sum differs.
    #[test]
    fn few_rows_equal_a_plain_sum_for_every_format_and_instruction_set() {
        let pool = Pool::new(2);
        let mut random = TestRandom(4);
        for (rows, depth, columns) in [(1, 64, 3), (1, 128, 130), (2, 96, 5), (3, 70, 17), (5, 1100, 9), (8, 256, 33)] {
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
                        if compute == ComputeDtype::Bf16 {
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
                                let bound = (depth as f64 + 2.0) * 2f64.powi(-24) * (size + f64::from(bias[column]));
                                assert!(error <= bound, "{} {rows}x{depth}x{columns}: {error} > {bound}", isa.name());
                            }
                        }
                    }
                }
            }
        }
    }
}
