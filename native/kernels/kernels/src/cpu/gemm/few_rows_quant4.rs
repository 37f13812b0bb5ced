//! Dot products of a few rows with 4-bit weights, decoded in registers.
//!
//! What AVX2, AVX-512 without BF16 and, in bf16, processors with tiles do is in [`super::few_rows_quant4_avx2`]; here is
//! AVX-512 with BF16.
//!
//! In bf16: 64 bytes hold 128 weights in 32 words of four; word j has weight 4j in its bits 4–7, 4j + 1 in 0–3, 4j + 2 in
//! 12–15 and 4j + 3 in 8–11. So x is laid out as four vectors of every fourth value, and a shift and one table look-up
//! decode 32 weights at once into the pairs that the dot product takes. The table holds the codebook times the absmax of
//! the block, rounded to bf16: twice 16 entries, because 128 weights are two blocks of 64.
//!
//! In f32: 16 bytes hold 32 weights, the even ones in their high halves; x is laid out as sixteen even and sixteen odd
//! values per 32.

use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::few_rows::{AHEAD, GROUP};
use crate::cpu::gemm::few_rows_quant4_avx2 as avx2;
use crate::cpu::gemm::matrix::Matrix;
use crate::cpu::isa::Isa;
use crate::cpu::quant4::Quant4View;
use std::arch::x86_64::*;

/// Weights that one step decodes in bf16.
const STEP: usize = 128;

/// How x is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Per 128 values those of weights 4j + 1, 4j, 4j + 3, 4j + 2, in bf16.
    Fourths,
    /// Per 32 values the even ones, then the odd ones, in f32.
    Halves,
    /// In the order in which [`avx2`] decodes exact weights, in f32.
    Exact,
    /// Rounded to integers with a scale per 32 values ([`avx2`]) where the product is one in bf16: closer than bf16.
    Integers,
}

impl Layout {
    /// The layout for a weight of whole blocks, if this instruction set decodes it in registers.
    pub fn of(isa: Isa, rounds: bool, view: &Quant4View<'_>, weight: &Matrix<'_>) -> Option<Self> {
        let (block, depth) = (view.block(), weight.columns);
        let whole =
            |unit: usize| [depth, weight.offset, weight.stride].iter().all(|extent| extent.is_multiple_of(unit));
        match isa {
            // Where tiles multiply bf16, vectors do it at half of the rate of f32.
            Isa::AmxBf16 if rounds && depth > 0 && whole(avx2::STEP) => Some(Self::Integers),
            Isa::Avx512Bf16 | Isa::AmxBf16 if rounds && block >= 64 && whole(block.max(STEP)) => Some(Self::Fourths),
            Isa::Avx512Bf16 | Isa::AmxBf16 if block >= 32 && whole(block) => Some(Self::Halves),
            Isa::Avx2 | Isa::Avx512 if depth > 0 && whole(avx2::STEP) => {
                Some(if rounds { Self::Integers } else { Self::Exact })
            }
            _ => None,
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
            Layout::Fourths => rows * self.depth / 2,
            Layout::Halves | Layout::Exact => rows * self.depth,
            Layout::Integers => rows * self.depth / avx2::STEP * avx2::STEP_WORDS,
        }
    }

    /// Lays x `[M, K]` out.
    pub fn lay_out(&self, x: &[f32], target: &mut [u32]) {
        assert!(x.len().is_multiple_of(self.depth), "rows of x");
        assert_eq!(target.len(), self.words(x.len() / self.depth));
        match self.layout {
            // SAFETY: the layout is chosen only where the instruction set was detected; extents as asserted.
            Layout::Fourths => unsafe { lay_out_fourths(x, target) },
            // SAFETY: as above.
            Layout::Integers => unsafe { avx2::lay_out(x, target) },
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
        match self.layout {
            Layout::Exact => return self.avx2::<true>(first, count, x, scales, sums),
            Layout::Integers => return self.avx2::<false>(first, count, x, scales, sums),
            Layout::Fourths | Layout::Halves => {}
        }
        assert!(first.is_multiple_of(view.block()));
        let blocks = ((count - 1) * stride + depth) / view.block();
        let scales = scales.floats(blocks);
        view.scales(first / view.block(), scales);
        let scales = scales.as_ptr();
        for (group, x) in x.chunks(GROUP * words).enumerate() {
            let span = Span { first, count, scales, sums: sums[group * GROUP..].as_mut_ptr(), rows };
            // SAFETY: the layout is chosen only where the instruction set was detected, and for whole blocks; rows of x,
            // weights, scales and sums exist as asserted.
            unsafe {
                match x.len() / words {
                    1 => self.group::<1>(span, x),
                    2 => self.group::<2>(span, x),
                    3 => self.group::<3>(span, x),
                    _ => self.group::<4>(span, x),
                }
            }
        }
    }

    /// As [`Self::dots`], after its checks.
    fn avx2<const EXACT: bool>(
        &self,
        first: usize,
        count: usize,
        x: &[u32],
        scales: &mut WordBuffer,
        sums: &mut [f32],
    ) {
        let Self { view, depth, stride, .. } = *self;
        let (rows, words) = (sums.len() / count, self.words(1));
        let span = avx2::Span { view, first, count, stride, depth };
        for (group, x) in x.chunks(GROUP * words).enumerate() {
            let at = |row: usize| x[row * words..(row + 1) * words].as_ptr();
            let sums = sums[group * GROUP..].as_mut_ptr();
            // SAFETY: the layout is chosen only where the instruction set was detected, and for whole steps; rows of x,
            // weights and sums exist as the caller asserted.
            unsafe {
                match x.len() / words {
                    1 => avx2::dots::<1, EXACT>(span, [at(0)], scales, sums, rows),
                    2 => avx2::dots::<2, EXACT>(span, [at(0), at(1)], scales, sums, rows),
                    3 => avx2::dots::<3, EXACT>(span, [at(0), at(1), at(2)], scales, sums, rows),
                    _ => avx2::dots::<4, EXACT>(span, [at(0), at(1), at(2), at(3)], scales, sums, rows),
                }
            }
        }
    }

    unsafe fn group<const M: usize>(&self, span: Span, x: &[u32]) {
        let words = self.words(1);
        let x: [*const u32; M] = std::array::from_fn(|row| x[row * words..(row + 1) * words].as_ptr());
        // SAFETY: by the caller.
        unsafe {
            match self.layout {
                Layout::Fourths => fourths(self, span, x),
                Layout::Halves => halves(self, span, x),
                Layout::Exact | Layout::Integers => unreachable!("computed elsewhere"),
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

/// Every fourth value of each 128, rounded to bf16, which is exact for values that are bf16 already.
///
/// # Safety
/// AVX-512 with BF16 must be present; `target` holds one word per two values, of which there are whole groups of 128.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn lay_out_fourths(x: &[f32], target: &mut [u32]) {
    for (from, to) in x.chunks_exact(STEP).zip(target.chunks_exact_mut(STEP / 2)) {
        for part in 0..4 {
            // SAFETY: 32 of 128 values; eight words of each fourth. Renames of registers.
            unsafe {
                let from = from.as_ptr().add(32 * part);
                let pairs = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(from.add(16)), _mm512_loadu_ps(from));
                let quads: __m512i = std::mem::transmute(pairs);
                let to = to.as_mut_ptr().cast::<u16>().add(8 * part);
                _mm_storeu_si128(to.cast(), _mm512_cvtepi64_epi16(_mm512_srli_epi64::<16>(quads)));
                _mm_storeu_si128(to.add(32).cast(), _mm512_cvtepi64_epi16(quads));
                _mm_storeu_si128(to.add(64).cast(), _mm512_cvtepi64_epi16(_mm512_srli_epi64::<48>(quads)));
                _mm_storeu_si128(to.add(96).cast(), _mm512_cvtepi64_epi16(_mm512_srli_epi64::<32>(quads)));
            }
        }
    }
}

/// Dot products of weight rows, rounded to bf16, with `M` rows of x.
///
/// # Safety
/// AVX-512 with BF16 must be present, blocks be of 64 or more, the first weight, K and stride whole blocks and whole
/// groups of 128, the weights, scales and sums of the span exist, and each row of x hold K values laid out in fourths.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn fourths<const M: usize>(rows: &Quant4Rows<'_>, span: Span, x: [*const u32; M]) {
    let Quant4Rows { view, depth, stride, .. } = *rows;
    let shift = view.shift();
    let codes = view.codes()[span.first / 2..].as_ptr();
    // SAFETY: the codebook holds 16 values.
    let values = unsafe { _mm512_loadu_ps(view.values().as_ptr()) };
    let low = _mm512_set1_epi16(15);
    let second_block = _mm512_inserti64x4::<1>(_mm512_setzero_si512(), _mm256_set1_epi16(16));
    for row in 0..span.count {
        let mut sums = [[_mm512_setzero_ps(); 4]; M];
        for at in (0..depth).step_by(STEP) {
            let weight = row * stride + at;
            // SAFETY: whole steps of weights and of rows of x and the scales of their blocks; prefetches may point
            // anywhere. Renames of registers.
            unsafe {
                let codes = codes.add(weight / 2);
                _mm_prefetch::<_MM_HINT_T0>(codes.wrapping_add(AHEAD).cast());
                let front = _mm512_set1_ps(*span.scales.add(weight >> shift));
                let back = _mm512_set1_ps(*span.scales.add((weight + 64) >> shift));
                let table = _mm512_cvtne2ps_pbh(_mm512_mul_ps(values, back), _mm512_mul_ps(values, front));
                let table: __m512i = std::mem::transmute(table);
                let words = _mm512_loadu_si512(codes.cast());
                macro_rules! fourth {
                    ($index:literal, $shifted:expr) => {
                        // (shifted and 15) or the place of the block's table.
                        let picks = _mm512_ternarylogic_epi32::<0xea>($shifted, low, second_block);
                        let weights: __m512bh = std::mem::transmute(_mm512_permutexvar_epi16(picks, table));
                        for m in 0..M {
                            let x = _mm512_loadu_si512(x[m].add(at / 2 + 16 * $index).cast());
                            sums[m][$index] =
                                _mm512_dpbf16_ps(sums[m][$index], weights, std::mem::transmute::<__m512i, __m512bh>(x));
                        }
                    };
                }
                fourth!(0, words);
                fourth!(1, _mm512_srli_epi16::<4>(words));
                fourth!(2, _mm512_srli_epi16::<8>(words));
                fourth!(3, _mm512_srli_epi16::<12>(words));
            }
        }
        for m in 0..M {
            let (front, back) = (_mm512_add_ps(sums[m][0], sums[m][1]), _mm512_add_ps(sums[m][2], sums[m][3]));
            // SAFETY: a sum of the span.
            unsafe { *span.sums.add(row * span.rows + m) = _mm512_reduce_add_ps(_mm512_add_ps(front, back)) };
        }
    }
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
                    _mm_prefetch::<_MM_HINT_T0>(codes.wrapping_add(AHEAD).cast());
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
