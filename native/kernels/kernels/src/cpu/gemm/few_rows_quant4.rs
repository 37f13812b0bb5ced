//! Dot products of a few rows with 4-bit weights, decoded in registers.
//!
//! Where the product may round, weights and x are 16-bit integers ([`super::few_rows_quant4_vnni`],
//! [`super::few_rows_quant4_avx2`]), which is closer than bf16. In f32 AVX2 and AVX-512 without BF16 decode exact weights in the latter
//! module; here is AVX-512 with BF16: 16 bytes hold 32 weights, the even ones in their high halves; x is laid out as sixteen
//! even and sixteen odd values per 32.

use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::few_rows::{AHEAD_QUANT4, GROUP};
use crate::cpu::gemm::few_rows_quant4_avx2 as avx2;
use crate::cpu::gemm::few_rows_quant4_vnni as vnni;
use crate::cpu::gemm::matrix::Matrix;
use crate::cpu::isa::Isa;
use crate::cpu::quant4::Quant4View;
use crate::cpu::simd::prefetch_far;
use std::arch::x86_64::*;

/// How x is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Per 32 values the even ones, then the odd ones, in f32.
    Halves,
    /// In the order in which [`avx2`] decodes exact weights, in f32.
    Exact,
    /// Rounded to integers with a scale per 32 values ([`avx2`]) where the product is one in bf16: closer than bf16.
    Integers,
    /// Rounded to integers with a scale per 128 values ([`vnni`]), likewise.
    WideIntegers,
}

impl Layout {
    /// The layout for a weight of whole blocks, if this instruction set decodes it in registers.
    pub fn of(isa: Isa, rounds: bool, view: &Quant4View<'_>, weight: &Matrix<'_>) -> Option<Self> {
        let (block, depth) = (view.block(), weight.columns);
        let whole =
            |unit: usize| [depth, weight.offset, weight.stride].iter().all(|extent| extent.is_multiple_of(unit));
        let has_vnni = matches!(isa, Isa::Avx512Bf16 | Isa::AmxBf16);
        match isa {
            _ if depth == 0 => None,
            Isa::Portable => None,
            _ if rounds && has_vnni && whole(vnni::STEP) => Some(Self::WideIntegers),
            _ if rounds && whole(avx2::STEP) => Some(Self::Integers),
            Isa::Avx2 | Isa::Avx512 if whole(avx2::STEP) => Some(Self::Exact),
            _ if has_vnni && whole(block) => Some(Self::Halves),
            _ => None,
        }
    }

    /// Values of x that share a scale, where x is rounded to integers.
    pub fn integer_part(self) -> Option<usize> {
        match self {
            Self::Integers => Some(avx2::PART),
            Self::WideIntegers => Some(vnni::STEP),
            Self::Halves | Self::Exact => None,
        }
    }
}

/// A weight whose rows are decoded in registers.
#[derive(Clone, Copy)]
pub struct Quant4Rows<'a> {
    /// The weight, which [`Layout::of`] was asked about.
    pub view: Quant4View<'a>,
    /// How x is laid out.
    pub layout: Layout,
    /// Whether weights are rounded to bf16.
    pub rounds: bool,
    /// K.
    pub depth: usize,
    /// Weights from one row to the next.
    pub stride: usize,
}

impl Quant4Rows<'_> {
    /// 32-bit words of `rows` rows of x laid out.
    pub fn words(&self, rows: usize) -> usize {
        match self.layout {
            Layout::Halves | Layout::Exact => rows * self.depth,
            Layout::Integers => rows * self.depth / avx2::STEP * avx2::STEP_WORDS,
            Layout::WideIntegers => rows * self.depth / vnni::STEP * vnni::STEP_WORDS,
        }
    }

    /// Lays x `[M, K]` out.
    pub fn lay_out(&self, x: &[f32], target: &mut [u32]) {
        assert!(x.len().is_multiple_of(self.depth), "rows of x");
        assert_eq!(target.len(), self.words(x.len() / self.depth));
        match self.layout {
            // SAFETY: the layout is chosen only where the instruction set was detected; extents as asserted.
            Layout::Integers => unsafe { avx2::lay_out(x, target) },
            Layout::WideIntegers => {
                for (from, to) in x.chunks_exact(self.depth).zip(target.chunks_exact_mut(self.words(1))) {
                    // SAFETY: as above.
                    unsafe { vnni::lay_out(from, to) }
                }
            }
            Layout::Exact => avx2::lay_out_exact(x, target),
            Layout::Halves => {
                for (from, to) in x.chunks_exact(32).zip(target.chunks_exact_mut(32)) {
                    for index in 0..16 {
                        to[index] = from[2 * index].to_bits();
                        to[16 + index] = from[2 * index + 1].to_bits();
                    }
                }
            }
        }
    }

    /// Writes the dot products of `count` weight rows, the first of which begins at `first`, with each row of x; those of
    /// one weight row together. `scales` is scratch.
    pub fn dots(&self, first: usize, count: usize, x: &[u32], scales: &mut WordBuffer, sums: &mut [f32]) {
        let Self { view, depth, stride, .. } = self;
        if sums.is_empty() {
            return;
        }
        let (rows, words) = (sums.len() / count, self.words(1));
        assert_eq!((sums.len(), x.len()), (rows * count, rows * words));
        assert!(first + (count - 1) * stride + depth <= view.len());
        for (group, x) in x.chunks(GROUP * words).enumerate() {
            let sums = sums[group * GROUP..].as_mut_ptr();
            // SAFETY: the layout is chosen only where the instruction set was detected, and for whole steps or blocks; rows
            // of x, weights and sums exist as asserted.
            unsafe {
                match x.len() / words {
                    1 => self.group::<1>(first, count, x, scales, sums, rows),
                    2 => self.group::<2>(first, count, x, scales, sums, rows),
                    3 => self.group::<3>(first, count, x, scales, sums, rows),
                    _ => self.group::<4>(first, count, x, scales, sums, rows),
                }
            }
        }
    }

    /// As [`Self::dots`] for `M` rows of x; sums of one weight row lie `rows` apart from the next's.
    ///
    /// # Safety
    /// The instruction set of the layout must be present, and weights, sums and rows of x exist.
    unsafe fn group<const M: usize>(
        &self,
        first: usize,
        count: usize,
        x: &[u32],
        scales: &mut WordBuffer,
        sums: *mut f32,
        rows: usize,
    ) {
        let Self { view, depth, stride, .. } = *self;
        let words = self.words(1);
        let x: [*const u32; M] = std::array::from_fn(|row| x[row * words..(row + 1) * words].as_ptr());
        let span = avx2::Span { view, first, count, stride, depth };
        // SAFETY: by the caller.
        unsafe {
            match self.layout {
                Layout::Exact => avx2::dots::<M, true>(span, x, scales, sums, rows),
                Layout::Integers => avx2::dots::<M, false>(span, x, scales, sums, rows),
                Layout::WideIntegers => vnni::dots::<M>(span, x, scales, sums, rows),
                Layout::Halves => {
                    assert!(first.is_multiple_of(view.block()));
                    let scales = scales.floats(((count - 1) * stride + depth) / view.block());
                    view.scales(first / view.block(), scales);
                    halves(self, Span { first, count, scales: scales.as_ptr(), sums, rows }, x);
                }
            }
        }
    }
}

/// Weight rows of one task: where they begin, the scales of their blocks and their sums, `rows` apart.
#[derive(Clone, Copy)]
struct Span {
    first: usize,
    count: usize,
    scales: *const f32,
    sums: *mut f32,
    rows: usize,
}

/// Dot products of weight rows with `M` rows of x, in f32; the weights are rounded to bf16 where the product is.
///
/// # Safety
/// AVX-512 with BF16 must be present, the first weight, K and stride whole blocks, the weights, scales and sums of the
/// span exist, and each row of x hold K values laid out in halves.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn halves<const M: usize>(rows: &Quant4Rows<'_>, span: Span, x: [*const u32; M]) {
    let Quant4Rows { view, depth, stride, rounds, .. } = *rows;
    let (block, shift) = (view.block(), view.shift());
    let codes = view.codes()[span.first / 2..].as_ptr();
    // SAFETY: the codebook holds 16 values.
    let values = unsafe { _mm512_loadu_ps(view.values().as_ptr()) };
    for row in 0..span.count {
        // Two sums per row: even and odd weights.
        let mut even = [_mm512_setzero_ps(); M];
        let mut odd = [_mm512_setzero_ps(); M];
        for start in (0..depth).step_by(block) {
            // SAFETY: the scale of a block of the span. A rename of the register.
            let mut table =
                _mm512_mul_ps(values, _mm512_set1_ps(unsafe { *span.scales.add((row * stride + start) >> shift) }));
            if rounds {
                // SAFETY: a rename of the register.
                let halves: __m256i = unsafe { std::mem::transmute(_mm512_cvtneps_pbh(table)) };
                table = _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)));
            }
            for at in (start..start + block).step_by(32) {
                // SAFETY: whole groups of 32 weights and values of x; prefetches may point anywhere.
                unsafe {
                    let codes = codes.add((row * stride + at) / 2);
                    prefetch_far(codes.wrapping_add(AHEAD_QUANT4));
                    let bytes = _mm512_cvtepu8_epi32(_mm_loadu_si128(codes.cast()));
                    let first = _mm512_permutexvar_ps(_mm512_srli_epi32::<4>(bytes), table);
                    let second = _mm512_permutexvar_ps(bytes, table);
                    for m in 0..M {
                        even[m] = _mm512_fmadd_ps(_mm512_loadu_ps(x[m].add(at).cast()), first, even[m]);
                        odd[m] = _mm512_fmadd_ps(_mm512_loadu_ps(x[m].add(at + 16).cast()), second, odd[m]);
                    }
                }
            }
        }
        for m in 0..M {
            // SAFETY: a sum of the span.
            unsafe { *span.sums.add(row * span.rows + m) = _mm512_reduce_add_ps(_mm512_add_ps(even[m], odd[m])) };
        }
    }
}
