//! Dot products of a few rows with 4-bit weights on AVX2: exact weights where the product is one in f32, 16-bit integers
//! where it may round.
//!
//! *Exact.* Four `vpshufb` look up the four bytes of f32 codebook values, and unpacking puts them together: 24 shuffles
//! for 64 weights, at two a cycle. x is laid out as the vectors come out ([`lay_out_exact`]); a block is summed with the
//! codebook's values, and one multiply-add brings it to size.
//!
//! *Integers.* AVX2 has no table of 16 floats, but a table of 16 bytes: two `vpshufb` look up both bytes of 16-bit codebook values,
//! and `vpmaddwd` multiplies and adds them in pairs. For that x is rounded to 15-bit integers with a scale per [`PART`]
//! values; sums of a part are exact, and one multiply-add in f32 brings them to size. Both factors are integers of at
//! most [`LARGEST`], so that a lane, which adds eight products, stays below 8 · 16383² < 2^31.
//!
//! The error: with absmax a of a block and largest value m of a part of x, codebook values and values of x are off by at
//! most half a step of a / 16383 and m / 16383. A product x·w is hence off by at most
//! (a·|x| + m·|w| + a·m / 32766) / 32766, before the sum of the parts in f32. Rounding x to bf16 alone is off by up to
//! |x|·|w| / 256; x in 8 bits, as is usual for 4-bit weights, by m·|w| / 254.
//!
//! 32 bytes hold 64 weights, the even ones in the high halves. Unpacking works in lanes of 16 bytes, so that a vector of
//! 16 weights has eight of each 32, and x is laid out to match: per 64 values the even ones of the first 16 and of the
//! third 16, those of the second and the fourth, the odd ones likewise, then the scale of each part four times.

use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::few_rows::AHEAD_QUANT4;
use crate::cpu::quant4::{Quant4View, ScaleReader};
use crate::cpu::simd::prefetch_far;
use std::arch::x86_64::*;

/// Weights that one step decodes.
pub const STEP: usize = 64;

/// 32-bit words of x laid out per step, in integers.
pub const STEP_WORDS: usize = 40;

/// 32-bit words of x laid out per step, in f32.
pub const EXACT_WORDS: usize = STEP;

/// Values of x that share a scale.
pub const PART: usize = 32;

/// Scales that are looked up together.
const SCALES: usize = 512;

/// Largest integer that a weight or a value of x becomes.
pub const LARGEST: f32 = 16383.0;

/// Weight rows of one task.
#[derive(Clone, Copy)]
pub struct Span<'a> {
    /// The weight.
    pub view: Quant4View<'a>,
    /// Index of the first weight.
    pub first: usize,
    /// Weight rows.
    pub count: usize,
    /// Weights from one row to the next.
    pub stride: usize,
    /// K.
    pub depth: usize,
}

/// Lays rows of x out for exact weights. A vector of eight decoded weights holds every second one of eight, then those 32
/// behind them; per 64 values the four vectors of the even ones come first.
pub fn lay_out_exact(x: &[f32], target: &mut [u32]) {
    for (from, to) in x.chunks_exact(STEP).zip(target.chunks_exact_mut(EXACT_WORDS)) {
        for (vector, to) in to.chunks_exact_mut(8).enumerate() {
            let first = vector / 4 + vector % 4 * 8;
            for index in 0..4 {
                to[index] = from[first + 2 * index].to_bits();
                to[4 + index] = from[32 + first + 2 * index].to_bits();
            }
        }
    }
}

/// Lays rows of x out in integers. A part with NaN or infinity gets NaN as its scale.
///
/// # Safety
/// AVX2 must be present, `x` be whole steps and `target` hold [`STEP_WORDS`] for each.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn lay_out(x: &[f32], target: &mut [u32]) {
    // Even 16-bit values of each half to its front, odd ones to its back.
    let apart = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15));
    let sign = _mm256_set1_ps(-0.0);
    for (from, to) in x.chunks_exact(STEP).zip(target.chunks_exact_mut(STEP_WORDS)) {
        for part in 0..2 {
            // SAFETY: 32 of 64 values; of 160 bytes those of this part.
            unsafe {
                let from = from.as_ptr().add(PART * part);
                let values = [
                    _mm256_loadu_ps(from),
                    _mm256_loadu_ps(from.add(8)),
                    _mm256_loadu_ps(from.add(16)),
                    _mm256_loadu_ps(from.add(24)),
                ];
                // `max` gives the second operand when one is NaN, which a later value would replace; the sum keeps it.
                let mut largest = _mm256_setzero_ps();
                let mut sum = _mm256_setzero_ps();
                for value in values {
                    let size = _mm256_andnot_ps(sign, value);
                    largest = _mm256_max_ps(largest, size);
                    sum = _mm256_add_ps(sum, _mm256_sub_ps(size, size));
                }
                let largest = horizontal_max(largest);
                let is_finite = horizontal_sum(sum) == 0.0;
                let divisor = _mm256_set1_ps(if largest > 0.0 { largest } else { 1.0 });
                let to = to.as_mut_ptr().cast::<u8>();
                for half in 0..2 {
                    let first = scaled(values[2 * half], divisor);
                    let second = scaled(values[2 * half + 1], divisor);
                    let words = _mm256_permute4x64_epi64::<0xd8>(_mm256_packs_epi32(first, second));
                    let split = _mm256_permute4x64_epi64::<0xd8>(_mm256_shuffle_epi8(words, apart));
                    let even = to.add(32 * half + 16 * part);
                    _mm_storeu_si128(even.cast(), _mm256_castsi256_si128(split));
                    _mm_storeu_si128(even.add(64).cast(), _mm256_extracti128_si256::<1>(split));
                }
                let scale = if is_finite { largest / (LARGEST * LARGEST) } else { f32::NAN };
                _mm_storeu_ps(to.add(128 + 16 * part).cast(), _mm_set1_ps(scale));
            }
        }
    }
}

#[target_feature(enable = "avx2,fma")]
fn scaled(values: __m256, divisor: __m256) -> __m256i {
    _mm256_cvtps_epi32(_mm256_mul_ps(_mm256_div_ps(values, divisor), _mm256_set1_ps(LARGEST)))
}

#[target_feature(enable = "avx2,fma")]
fn horizontal_sum(a: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

#[target_feature(enable = "avx2,fma")]
fn horizontal_max(a: __m256) -> f32 {
    let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
    let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
}

/// Bytes of the codebook, the lowest first, each in both halves of a register: all four of f32, or two of integers.
#[target_feature(enable = "avx2,fma")]
fn tables<const EXACT: bool>(values: &[f32; 16]) -> [__m256i; 4] {
    let words = values.map(|value| match EXACT {
        true => value.to_bits(),
        false => u32::from((value * LARGEST).round_ties_even() as i16 as u16),
    });
    let mut tables = [_mm256_setzero_si256(); 4];
    for (byte, table) in tables.iter_mut().enumerate() {
        let bytes = words.map(|word| word.to_le_bytes()[byte]);
        // SAFETY: 16 bytes.
        *table = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) });
    }
    tables
}

/// Writes the dot products of the span with `M` rows of x, those of one weight row `rows` apart from the next's. `scales`
/// is scratch.
///
/// # Safety
/// AVX2 and FMA must be present; the first weight, K and stride be whole steps; blocks be of 32 or more; weights and sums
/// exist, and each row of x hold K values laid out by [`lay_out_exact`] where `EXACT`, else by [`lay_out`].
pub unsafe fn dots<const M: usize, const EXACT: bool>(
    span: Span<'_>,
    x: [*const u32; M],
    scales: &mut WordBuffer,
    sums: *mut f32,
    rows: usize,
) {
    let per_step = if span.view.block() < STEP { 2 } else { 1 };
    let per_row = span.depth / STEP * per_step;
    // Rows that follow each other have their scales looked up together.
    let together = if span.stride == span.depth { (SCALES / per_row).max(1) } else { 1 };
    let scales = scales.floats(together * per_row);
    // SAFETY: by the caller.
    unsafe {
        match per_step {
            1 => all_rows::<M, EXACT, false>(span, x, scales, together, sums, rows),
            _ => all_rows::<M, EXACT, true>(span, x, scales, together, sums, rows),
        }
    }
}

/// `SPLIT`: each half of a step is a block of its own. `scales` holds those of `together` weight rows, per step or half.
#[target_feature(enable = "avx2,fma")]
unsafe fn all_rows<const M: usize, const EXACT: bool, const SPLIT: bool>(
    span: Span<'_>,
    x: [*const u32; M],
    scales: &mut [f32],
    together: usize,
    to: *mut f32,
    rows: usize,
) {
    let Span { view, first, count, stride, depth } = span;
    let codes = view.codes()[first / 2..].as_ptr();
    let tables = tables::<EXACT>(view.values());
    let words = if EXACT { EXACT_WORDS } else { STEP_WORDS };
    let mut reader = ScaleReader::new(view);
    let per_step = if SPLIT { 2 } else { 1 };
    let per_row = depth / STEP * per_step;
    for begin in (0..count).step_by(together) {
        let end = (begin + together).min(count);
        let scales = &mut scales[..(end - begin) * per_row];
        reader.read(first + begin * stride, STEP / per_step, scales);
        for (row, scales) in (begin..end).zip(scales.chunks_exact(per_row)) {
            let mut at = Position { codes: codes.wrapping_add(row * stride / 2), scales: scales.as_ptr(), x };
            let mut sums = [_mm256_setzero_ps(); M];
            // SAFETY: whole steps of weights, of their scales and of rows of x; prefetches may point anywhere.
            unsafe {
                for _ in 0..depth / (2 * STEP) {
                    // Two steps are one line of codes.
                    prefetch_far(at.codes.wrapping_add(AHEAD_QUANT4));
                    sums = step::<M, EXACT, SPLIT>(at, tables, sums);
                    at = at.after(per_step, words);
                    sums = step::<M, EXACT, SPLIT>(at, tables, sums);
                    at = at.after(per_step, words);
                }
                if depth % (2 * STEP) > 0 {
                    sums = step::<M, EXACT, SPLIT>(at, tables, sums);
                }
            }
            for m in 0..M {
                // SAFETY: a sum of the span.
                unsafe { *to.add(row * rows + m) = horizontal_sum(sums[m]) };
            }
        }
    }
}

/// Where a step reads.
#[derive(Clone, Copy)]
struct Position<const M: usize> {
    codes: *const u8,
    scales: *const f32,
    x: [*const u32; M],
}

impl<const M: usize> Position<M> {
    /// One step on.
    #[inline(always)]
    fn after(mut self, scales: usize, words: usize) -> Self {
        self.codes = self.codes.wrapping_add(STEP / 2);
        self.scales = self.scales.wrapping_add(scales);
        for x in &mut self.x {
            *x = x.wrapping_add(words);
        }
        self
    }
}

/// The sums after one step.
///
/// # Safety
/// AVX2 and FMA must be present, and a step of codes, scales and rows of x be readable.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn step<const M: usize, const EXACT: bool, const SPLIT: bool>(
    at: Position<M>,
    tables: [__m256i; 4],
    mut sums: [__m256; M],
) -> [__m256; M] {
    let nibble = _mm256_set1_epi8(15);
    // SAFETY: by the caller.
    unsafe {
        let absmax = if SPLIT {
            _mm256_set_m128(_mm_set1_ps(*at.scales.add(1)), _mm_set1_ps(*at.scales))
        } else {
            _mm256_set1_ps(*at.scales)
        };
        let bytes = _mm256_loadu_si256(at.codes.cast());
        let even = _mm256_and_si256(_mm256_srli_epi16::<4>(bytes), nibble);
        let odd = _mm256_and_si256(bytes, nibble);
        if EXACT {
            let (even, odd) = (decode_exactly(tables, even), decode_exactly(tables, odd));
            for m in 0..M {
                let x = at.x[m].cast::<f32>();
                let mut front = _mm256_mul_ps(even[0], _mm256_loadu_ps(x));
                let mut back = _mm256_mul_ps(odd[0], _mm256_loadu_ps(x.add(32)));
                for vector in 1..4 {
                    front = _mm256_fmadd_ps(even[vector], _mm256_loadu_ps(x.add(8 * vector)), front);
                    back = _mm256_fmadd_ps(odd[vector], _mm256_loadu_ps(x.add(32 + 8 * vector)), back);
                }
                sums[m] = _mm256_fmadd_ps(_mm256_add_ps(front, back), absmax, sums[m]);
            }
            return sums;
        }
        let [low, high, ..] = tables;
        let (even_low, even_high) = (_mm256_shuffle_epi8(low, even), _mm256_shuffle_epi8(high, even));
        let (odd_low, odd_high) = (_mm256_shuffle_epi8(low, odd), _mm256_shuffle_epi8(high, odd));
        let weights = [
            _mm256_unpacklo_epi8(even_low, even_high),
            _mm256_unpackhi_epi8(even_low, even_high),
            _mm256_unpacklo_epi8(odd_low, odd_high),
            _mm256_unpackhi_epi8(odd_low, odd_high),
        ];
        for m in 0..M {
            let x = at.x[m].cast::<__m256i>();
            let front = _mm256_add_epi32(
                _mm256_madd_epi16(weights[0], _mm256_loadu_si256(x)),
                _mm256_madd_epi16(weights[1], _mm256_loadu_si256(x.add(1))),
            );
            let back = _mm256_add_epi32(
                _mm256_madd_epi16(weights[2], _mm256_loadu_si256(x.add(2))),
                _mm256_madd_epi16(weights[3], _mm256_loadu_si256(x.add(3))),
            );
            let scale = _mm256_mul_ps(absmax, _mm256_loadu_ps(x.add(4).cast()));
            sums[m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(_mm256_add_epi32(front, back)), scale, sums[m]);
        }
    }
    sums
}

/// The codebook's values of 32 codes, four of each half of the register to a vector.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn decode_exactly(tables: [__m256i; 4], codes: __m256i) -> [__m256; 4] {
    let first = _mm256_shuffle_epi8(tables[0], codes);
    let second = _mm256_shuffle_epi8(tables[1], codes);
    let third = _mm256_shuffle_epi8(tables[2], codes);
    let fourth = _mm256_shuffle_epi8(tables[3], codes);
    let (low, low_behind) = (_mm256_unpacklo_epi8(first, second), _mm256_unpackhi_epi8(first, second));
    let (high, high_behind) = (_mm256_unpacklo_epi8(third, fourth), _mm256_unpackhi_epi8(third, fourth));
    [
        _mm256_castsi256_ps(_mm256_unpacklo_epi16(low, high)),
        _mm256_castsi256_ps(_mm256_unpackhi_epi16(low, high)),
        _mm256_castsi256_ps(_mm256_unpacklo_epi16(low_behind, high_behind)),
        _mm256_castsi256_ps(_mm256_unpackhi_epi16(low_behind, high_behind)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::gemm::few_rows::few_rows;
    use crate::cpu::gemm::few_rows_quant4::Layout;
    use crate::cpu::gemm::tests::{Owned, TestRandom};
    use crate::cpu::gemm::{ComputeDtype, Gemm, Matrix, Start};
    use crate::cpu::isa::Isa;
    use crate::cpu::pool::Pool;
    use crate::cpu::quant4::{Quant4, Quant4Kind, Scales};

    /// Instruction sets of this machine that multiply in integers: in this module's loop or the one of VNNI.
    fn isas() -> Vec<Isa> {
        let found: Vec<Isa> = [Isa::Avx2, Isa::Avx512Bf16].into_iter().filter(|isa| *isa <= Isa::detect()).collect();
        if found.len() < 2 {
            println!("skipped: integers on what this machine lacks ({found:?} is tested)");
        }
        found
    }

    fn product(isa: Isa, weight: &Quant4, x: &[f32], rows: usize, columns: usize) -> Vec<f32> {
        let depth = x.len() / rows;
        let mut c = vec![f32::NAN; rows * columns];
        let gemm = Gemm::new(Pool::global(), isa, ComputeDtype::Bf16);
        let owned = Owned::Quant4(weight.clone());
        let weight = Matrix::new(owned.elements(), columns, depth);
        few_rows(&gemm, &Matrix::f32(x, rows, depth), &weight, 1.0, Start::Overwrite, &mut c);
        c
    }

    /// The same integers without vectors. Parts are exact in both; their f32 sum differs by at most a rounding per
    /// step, lane and factor of a scale.
    #[test]
    fn integers_equal_those_of_a_plain_loop() {
        let mut random = TestRandom(6);
        for (rows, depth, columns) in [(1, 64, 3), (1, 1024, 40), (4, 192, 9), (7, 448, 5), (5, 256, 6)] {
            let mut x = random.values(rows * depth);
            // Parts of very different size, and one of zeros.
            for (part, values) in x.chunks_mut(PART).enumerate() {
                values.iter_mut().for_each(|value| *value *= [1.0, 1e-3, 0.0, 1e4][part % 4]);
            }
            for (owned, isa) in Owned::formats(&mut random, depth * columns)
                .iter()
                .flat_map(|owned| isas().into_iter().map(move |isa| (owned, isa)))
            {
                let Owned::Quant4(weight) = owned else { continue };
                let view = weight.view();
                let matrix = Matrix::new(owned.elements(), columns, depth);
                let part = Layout::of(isa, true, &view, &matrix).and_then(Layout::integer_part);
                let part = part.expect("whole steps are multiplied in integers");
                let c = product(isa, weight, &x, rows, columns);
                for row in 0..rows {
                    for column in 0..columns {
                        let (mut expected, mut size) = (0.0, 0.0);
                        for (number, values) in x[row * depth..(row + 1) * depth].chunks(part).enumerate() {
                            let largest = values.iter().fold(0.0f32, |most, value| most.max(value.abs()));
                            let divisor = if largest > 0.0 { largest } else { 1.0 };
                            for (index, values) in values.chunks(PART).enumerate() {
                                let first = column * depth + number * part + index * PART;
                                let mut sum = 0;
                                for (index, value) in values.iter().enumerate() {
                                    let byte = weight.codes[(first + index) / 2];
                                    let code = if index % 2 == 0 { byte >> 4 } else { byte & 15 };
                                    let w = (view.values()[usize::from(code)] * LARGEST).round_ties_even() as i64;
                                    sum += w * (value / divisor * LARGEST).round_ties_even() as i64;
                                }
                                let scale = f64::from(view.scale(first >> view.shift())) * f64::from(largest);
                                expected += sum as f64 * scale / f64::from(LARGEST).powi(2);
                                size += scale.abs() * PART as f64;
                            }
                        }
                        let error = (f64::from(c[row * columns + column]) - expected).abs();
                        let bound = (depth / STEP + 12) as f64 * 2f64.powi(-24) * size;
                        assert!(error <= bound, "{} {rows}x{depth}x{columns}: {error} > {bound}", isa.name());
                    }
                }
            }
        }
    }

    /// Eight products of the largest integers, of either sign, are the most that a lane adds.
    #[test]
    fn the_largest_sums_do_not_overflow() {
        for (codes, value) in [(0xff, 3.0f32), (0xff, -3.0), (0x00, 3.0), (0x00, -3.0)] {
            let weight = Quant4 {
                kind: Quant4Kind::Nf4,
                elements: 128,
                block: 64,
                codes: vec![codes; 64].into(),
                scales: Scales::Plain(vec![2.0; 2]),
            };
            let expected = 128.0 * value * if codes == 0 { -2.0 } else { 2.0 };
            for isa in isas() {
                let found = product(isa, &weight, &[value; 128], 1, 1)[0];
                assert!((found - expected).abs() <= 1e-6 * expected.abs(), "{found} and not {expected}");
            }
        }
    }

    #[test]
    fn nan_and_infinity_reach_every_output_of_their_row() {
        let mut random = TestRandom(8);
        let formats = Owned::formats(&mut random, 128 * 3);
        for owned in &formats {
            let Owned::Quant4(weight) = owned else { continue };
            for (at, value) in [(0, f32::NAN), (70, f32::INFINITY), (127, f32::NEG_INFINITY)] {
                let mut x = vec![1.0; 256];
                x[at] = value;
                for isa in isas() {
                    let c = product(isa, weight, &x, 2, 3);
                    assert!(c[..3].iter().all(|output| output.is_nan()));
                    assert!(c[3..].iter().all(|output| output.is_finite()));
                }
            }
        }
    }
}
