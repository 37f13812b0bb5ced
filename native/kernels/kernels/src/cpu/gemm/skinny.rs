//! Products whose result has few rows and whose depth is the tokens: C = alpha · leftᵀ · right, left `[M, R]`, right
//! `[M, N]`, R a few dozen. The gradients of a low-rank branch are such products. Packing right would cost as much as
//! multiplying it: its rows are read where they lie, and become pairs of bf16 in registers where the machine multiplies
//! those.

use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::driver::Gemm;
use crate::cpu::gemm::kernel::{PanelWord, RowLayout};
use crate::cpu::gemm::matrix::{Elements, Matrix};
use crate::cpu::isa::Isa;
use crate::cpu::pool::SharedMut;
use std::cell::RefCell;

#[cfg(target_arch = "x86_64")]
use crate::cpu::gemm::skinny_avx2;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Largest R: beyond it right is read too often.
pub(super) const MOST_ROWS: usize = 64;
/// Rows of C at a time: their sums fill half of the registers.
const GROUP: usize = 16;
/// Columns of a task.
const COLUMNS: usize = 128;
/// Rows of right that one pass over the columns of a task reads: few enough for the nearest translation buffers.
const DEPTH: usize = 64;

thread_local! {
    static LEFT: RefCell<WordBuffer> = const { RefCell::new(WordBuffer::new()) };
}

/// How C `[R, N]` lies in memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Row by row.
    Rows,
    /// Column by column: the memory holds Cᵀ.
    Columns,
}

/// Writes `alpha · leftᵀ · right`, where there is a kernel for this instruction set and both operands are rows of f32;
/// returns whether it did. Inputs are rounded as the compute dtype says, sums are f32 in the order of the tokens.
pub fn skinny(
    gemm: &Gemm<'_>,
    left: &Matrix<'_>,
    right: &Matrix<'_>,
    alpha: f32,
    target: &mut [f32],
    order: Order,
) -> bool {
    let (Elements::F32(left_values), Elements::F32(right_values)) = (left.elements, right.elements) else {
        return false;
    };
    let rank = left.columns;
    // Tiles multiply so fast that packing right for them pays.
    let pairs = gemm.kernel.word == PanelWord::Bf16Pair && gemm.kernel.layout == RowLayout::Steps;
    if !(pairs || gemm.kernel.isa == Isa::Avx2) || rank > MOST_ROWS || left.rows == 0 {
        return false;
    }
    assert_eq!(left.rows, right.rows, "depth of both sides");
    assert!(target.len() >= rank * right.columns, "target of [{rank}, {}]", right.columns);
    #[cfg(target_arch = "x86_64")]
    {
        let job = Job { left, left_values, right, right_values, alpha, order };
        let multiply = if pairs { multiply } else { skinny_avx2::multiply };
        LEFT.with_borrow_mut(|buffer| multiply(gemm, &job, target, buffer));
        true
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = (left_values, right_values, alpha, order, SharedMut::new(target), GROUP + COLUMNS + DEPTH, pairs);
        false
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) struct Job<'a> {
    pub(super) left: &'a Matrix<'a>,
    pub(super) left_values: &'a [f32],
    pub(super) right: &'a Matrix<'a>,
    pub(super) right_values: &'a [f32],
    pub(super) alpha: f32,
    pub(super) order: Order,
}

#[cfg(target_arch = "x86_64")]
impl Job<'_> {
    /// Writes columns `begin..end` of line `line` of C from its sums.
    pub(super) fn write(&self, target: &SharedMut<f32>, line: usize, (begin, end): (usize, usize), sums: &[f32]) {
        let (rank, columns) = (self.left.columns, self.right.columns);
        match self.order {
            Order::Rows => {
                // SAFETY: tasks own disjoint columns.
                let to = unsafe { target.slice(line * columns + begin, line * columns + end) };
                to.iter_mut().zip(sums).for_each(|(to, sum)| *to = self.alpha * sum);
            }
            Order::Columns => {
                // SAFETY: as above; a task owns whole columns of C, which are rows of the memory.
                let to = unsafe { target.slice(begin * rank, end * rank) };
                to[line..].iter_mut().step_by(rank).zip(sums).for_each(|(to, sum)| *to = self.alpha * sum);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
fn multiply(gemm: &Gemm<'_>, job: &Job<'_>, target: &mut [f32], buffer: &mut WordBuffer) {
    let (depth, rank, columns) = (job.left.rows, job.left.columns, job.right.columns);
    let (pairs, groups) = (depth.div_ceil(2), rank.div_ceil(GROUP));
    let words = buffer.words(groups * pairs * GROUP);
    for group in 0..groups {
        let first = group * GROUP;
        let present = low_lanes(rank - first);
        for pair in 0..pairs {
            let even = job.left_values[job.left.index(2 * pair, first)..].as_ptr();
            let odd = (2 * pair + 1 < depth).then(|| job.left_values[job.left.index(2 * pair + 1, first)..].as_ptr());
            let to = words[(group * pairs + pair) * GROUP..][..GROUP].as_mut_ptr();
            // SAFETY: lanes beyond the rank are masked; AVX-512-BF16 was detected for this kernel.
            unsafe { store_pair(even, odd.unwrap_or(even), present, low_bits(odd.is_some(), present), to) };
        }
    }
    let words = &*words;
    let shared = SharedMut::new(target);
    gemm.pool.for_chunks(columns, COLUMNS, &|begin, end| {
        let mut sums = [[0.0f32; COLUMNS]; GROUP];
        for group in 0..groups {
            let height = (rank - group * GROUP).min(GROUP);
            sums.iter_mut().for_each(|row| row.fill(0.0));
            for start in (0..depth).step_by(DEPTH) {
                let rows = DEPTH.min(depth - start);
                let left = words[(group * pairs + start / 2) * GROUP..][..rows.div_ceil(2) * GROUP].as_ptr();
                for lane in (0..end - begin).step_by(16) {
                    let last = job.right.index(start + rows - 1, begin + lane);
                    assert!(last < job.right_values.len());
                    let right = job.right_values[job.right.index(start, begin + lane)..].as_ptr();
                    let present = low_lanes(end - begin - lane);
                    let sums = sums[0][lane..].as_mut_ptr();
                    // SAFETY: `rows` rows of the lanes present exist; `sums` has GROUP rows of COLUMNS values.
                    unsafe {
                        match height {
                            0..=4 => sum_tile::<4>(rows, left, right, job.right.stride, present, sums),
                            5..=8 => sum_tile::<8>(rows, left, right, job.right.stride, present, sums),
                            9..=12 => sum_tile::<12>(rows, left, right, job.right.stride, present, sums),
                            _ => sum_tile::<16>(rows, left, right, job.right.stride, present, sums),
                        }
                    }
                }
            }
            for (index, row) in sums.iter().enumerate().take(height) {
                job.write(&shared, group * GROUP + index, (begin, end), row);
            }
        }
    });
}

/// Adds `rows` rows of 16 lanes to R rows of sums (COLUMNS values apart).
///
/// # Safety
/// `left` holds a pair of rows of GROUP words per step, `right` the lanes present of every row, `stride` apart, `sums` R
/// rows.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn sum_tile<const R: usize>(
    rows: usize,
    left: *const u32,
    right: *const f32,
    stride: usize,
    present: u16,
    sums: *mut f32,
) {
    // SAFETY: by the caller; `sums` has room for 16 lanes because COLUMNS is a multiple of them.
    unsafe {
        let mut values = [_mm512_setzero_ps(); R];
        for (row, value) in values.iter_mut().enumerate() {
            *value = _mm512_loadu_ps(sums.add(row * COLUMNS));
        }
        for pair in 0..rows.div_ceil(2) {
            let even = right.add(2 * pair * stride);
            let second = low_bits(2 * pair + 1 < rows, present);
            let words = pair_words(even, even.wrapping_add(stride), present, second);
            let words = std::mem::transmute::<__m512i, __m512bh>(words);
            let factors = left.add(pair * GROUP);
            for (row, value) in values.iter_mut().enumerate() {
                let factor = _mm512_set1_epi32(*factors.add(row).cast::<i32>());
                *value = _mm512_dpbf16_ps(*value, words, std::mem::transmute::<__m512i, __m512bh>(factor));
            }
        }
        for (row, value) in values.iter().enumerate() {
            _mm512_storeu_ps(sums.add(row * COLUMNS), *value);
        }
    }
}

/// 16 words of two bf16 each: a lane of `even` below, of `odd` above; lanes that are not present are zero.
///
/// # Safety
/// The lanes present are readable.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
#[inline]
unsafe fn pair_words(even: *const f32, odd: *const f32, present: u16, odd_present: u16) -> __m512i {
    // SAFETY: by the caller.
    unsafe {
        let halves = _mm512_cvtne2ps_pbh(_mm512_maskz_loadu_ps(odd_present, odd), _mm512_maskz_loadu_ps(present, even));
        let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        // Index of lane i: i below, 16 + i above.
        let index = _mm512_or_si512(lanes, _mm512_slli_epi32::<16>(_mm512_add_epi32(lanes, _mm512_set1_epi32(16))));
        _mm512_permutexvar_epi16(index, std::mem::transmute::<__m512bh, __m512i>(halves))
    }
}

/// Writes [`pair_words`].
///
/// # Safety
/// The lanes present are readable, 16 words writable.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn store_pair(even: *const f32, odd: *const f32, present: u16, odd_present: u16, to: *mut u32) {
    // SAFETY: by the caller.
    unsafe { _mm512_storeu_si512(to.cast(), pair_words(even, odd, present, odd_present)) };
}

/// A mask of the lowest `count` of 16 lanes.
#[cfg(target_arch = "x86_64")]
fn low_lanes(count: usize) -> u16 {
    if count >= 16 { u16::MAX } else { (1 << count) - 1 }
}

/// The mask, or none.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn low_bits(wanted: bool, mask: u16) -> u16 {
    if wanted { mask } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::{Order, skinny};
    use crate::cpu::gemm::{ComputeDtype, Gemm, Matrix};
    use crate::cpu::isa::Isa;
    use crate::cpu::pool::Pool;
    use crate::rng::normal_at;
    use half::bf16;

    /// Compares with sums in f64 of the inputs as `round` leaves them.
    fn check(isa: Isa, compute: ComputeDtype, round: fn(f32) -> f32) {
        let pool = Pool::new(2);
        let gemm = Gemm::new(&pool, isa, compute);
        for (depth, rank, columns) in
            [(1, 1, 1), (2, 16, 16), (7, 5, 33), (129, 24, 300), (65, 40, 131), (512, 16, 257), (50, 64, 120)]
        {
            let values = |seed: u64, count: usize| -> Vec<f32> {
                (0..count as u64).map(|index| normal_at(seed, index) as f32).collect()
            };
            let (left, right) = (values(1, depth * rank), values(2, depth * columns));
            let rounded = |value: f32| f64::from(round(value));
            for order in [Order::Rows, Order::Columns] {
                let mut result = vec![f32::NAN; rank * columns];
                let (a, b) = (Matrix::f32(&left, depth, rank), Matrix::f32(&right, depth, columns));
                assert!(skinny(&gemm, &a, &b, 0.5, &mut result, order), "{} has a kernel", isa.name());
                for row in 0..rank {
                    for column in 0..columns {
                        let terms = (0..depth)
                            .map(|token| rounded(left[token * rank + row]) * rounded(right[token * columns + column]));
                        let (sum, size) = terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs()));
                        let at = if order == Order::Rows { row * columns + column } else { column * rank + row };
                        // Each of the `depth` fused multiply-adds rounds by 2^-24 at most (products of bf16 are exact).
                        let bound = 0.5 * size * depth as f64 * 2f64.powi(-24) + 1e-30;
                        let error = (f64::from(result[at]) - 0.5 * sum).abs();
                        assert!(error <= bound, "[{depth}, {rank}, {columns}] at {row}, {column}: {error} > {bound}");
                    }
                }
            }
        }
    }

    #[test]
    fn odd_extents_equal_sums_of_rounded_products() {
        for isa in Isa::available().into_iter().filter(|isa| matches!(isa, Isa::Avx2 | Isa::Avx512Bf16)) {
            check(isa, ComputeDtype::Bf16, |value| bf16::from_f32(value).to_f32());
        }
    }

    #[test]
    fn avx2_multiplies_f32_as_it_is() {
        if Isa::detect() < Isa::Avx2 {
            println!("skipped: this machine lacks AVX2");
            return;
        }
        check(Isa::Avx2, ComputeDtype::F32, |value| value);
    }

    #[test]
    fn other_formats_are_left_to_the_blocked_product() {
        let pool = Pool::new(1);
        let gemm = Gemm::new(&pool, Isa::Portable, ComputeDtype::F32);
        let values = [1.0f32; 4];
        let matrix = Matrix::f32(&values, 2, 2);
        assert!(!skinny(&gemm, &matrix, &matrix, 1.0, &mut [0.0; 4], Order::Rows));
    }
}
