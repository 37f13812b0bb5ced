//! Reads part of a matrix row of any format as f32 or bf16, at vector speed.
//!
//! The loops are plain Rust compiled once per instruction set; only the 4-bit table lookup and the
//! native bf16 rounding need intrinsics.

use crate::cpu::gemm::matrix::{Elements, Matrix};
use crate::cpu::isa::Isa;
use crate::cpu::quant4::Quant4View;
use half::{bf16, f16};

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Columns that pass through a stack buffer when a format has no direct conversion to bf16.
const CHUNK: usize = 256;

/// Writes columns `start..start + target.len()` of `row` as f32.
pub fn load_f32(isa: Isa, matrix: &Matrix<'_>, row: usize, start: usize, target: &mut [f32]) {
    let first = matrix.index(row, start);
    let range = first..first + target.len();
    match matrix.elements {
        Elements::F32(values) => target.copy_from_slice(&values[range]),
        Elements::Bf16(values) => widen_bf16(isa, &values[range], target),
        Elements::F16(values) => widen_f16(isa, &values[range], target),
        Elements::Quant4(view) => decode_quant4(isa, &view, first, target),
    }
}

/// Writes columns `start..start + target.len()` of `row`, rounded to bf16.
pub fn load_bf16(isa: Isa, matrix: &Matrix<'_>, row: usize, start: usize, target: &mut [bf16]) {
    let first = matrix.index(row, start);
    match matrix.elements {
        Elements::F32(values) => round_bf16(isa, &values[first..first + target.len()], target),
        Elements::Bf16(values) => target.copy_from_slice(&values[first..first + target.len()]),
        Elements::F16(_) | Elements::Quant4(_) => {
            let mut wide = [0.0f32; CHUNK];
            for (index, part) in target.chunks_mut(CHUNK).enumerate() {
                let wide = &mut wide[..part.len()];
                load_f32(isa, matrix, row, start + index * CHUNK, wide);
                round_bf16(isa, wide, part);
            }
        }
    }
}

/// Compiles a loop once per instruction set and picks one at run time.
macro_rules! per_isa {
    ($(#[$doc:meta])* $name:ident, $body:ident, ($($argument:ident: $type:ty),*)) => {
        $(#[$doc])*
        pub fn $name(isa: Isa, $($argument: $type),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($argument: $type),*) { $body($($argument),*) }
                #[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($argument: $type),*) { $body($($argument),*) }
                match isa {
                    Isa::Portable => $body($($argument),*),
                    // SAFETY: an `Isa` other than `Portable` is only made where it was detected.
                    Isa::Avx2 => unsafe { avx2($($argument),*) },
                    // SAFETY: as above.
                    Isa::Avx512 | Isa::Avx512Bf16 | Isa::AmxBf16 => unsafe { avx512($($argument),*) },
                }
            }
            #[cfg(not(target_arch = "x86_64"))]
            {
                let _ = isa;
                $body($($argument),*)
            }
        }
    };
}
pub(crate) use per_isa;

#[inline(always)]
fn widen_bf16_body(source: &[bf16], target: &mut [f32]) {
    for (value, bits) in target.iter_mut().zip(source) {
        *value = f32::from_bits(u32::from(bits.to_bits()) << 16);
    }
}

per_isa!(
    /// bf16 to f32, exact.
    widen_bf16, widen_bf16_body, (source: &[bf16], target: &mut [f32])
);

#[inline(always)]
fn round_bf16_body(source: &[f32], target: &mut [bf16]) {
    for (target, value) in target.iter_mut().zip(source) {
        *target = bf16::from_bits(rounded_bits(*value));
    }
}

/// f32 to bf16 bits, nearest, ties to even, NaN kept (quiet).
#[inline(always)]
pub fn rounded_bits(value: f32) -> u16 {
    let bits = value.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16;
    let nan = ((bits >> 16) as u16) | 0x40;
    if bits & 0x7fff_ffff > 0x7f80_0000 { nan } else { rounded }
}

per_isa!(
    /// f32 to bf16, nearest, ties to even, subnormals kept.
    round_bf16_exact,
    round_bf16_body, (source: &[f32], target: &mut [bf16])
);

/// f32 to bf16, nearest, ties to even; natively where the instruction exists (it flushes subnormals).
pub fn round_bf16(isa: Isa, source: &[f32], target: &mut [bf16]) {
    #[cfg(target_arch = "x86_64")]
    if isa.has_native_bf16() {
        // SAFETY: such an `Isa` is only made where it was detected.
        return unsafe { round_bf16_native(source, target) };
    }
    round_bf16_exact(isa, source, target);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
fn round_bf16_native(source: &[f32], target: &mut [bf16]) {
    assert_eq!(source.len(), target.len());
    let whole = source.len() / 32 * 32;
    for index in (0..whole).step_by(32) {
        // SAFETY: `index + 32` elements exist in both slices; bf16 is a transparent u16.
        unsafe {
            let low = _mm512_loadu_ps(source.as_ptr().add(index));
            let high = _mm512_loadu_ps(source.as_ptr().add(index + 16));
            let pair: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
            _mm512_storeu_si512(target.as_mut_ptr().add(index).cast(), pair);
        }
    }
    round_bf16_body(&source[whole..], &mut target[whole..]);
}

#[inline(always)]
fn round_in_place_body(values: &mut [f32]) {
    for value in values {
        *value = f32::from_bits(u32::from(rounded_bits(*value)) << 16);
    }
}

per_isa!(
    /// Rounds f32 values to bf16 precision in place.
    round_in_place, round_in_place_body, (values: &mut [f32])
);

/// IEEE half to f32, exact.
pub fn widen_f16(isa: Isa, source: &[f16], target: &mut [f32]) {
    assert_eq!(source.len(), target.len());
    #[cfg(target_arch = "x86_64")]
    if isa >= Isa::Avx512 {
        // SAFETY: AVX-512 was detected for this `isa`.
        return unsafe { widen_f16_avx512(source, target) };
    }
    #[cfg(target_arch = "x86_64")]
    if isa == Isa::Avx2 && is_x86_feature_detected!("f16c") {
        // SAFETY: AVX2 was detected for this `isa`, F16C just now.
        return unsafe { widen_f16_f16c(source, target) };
    }
    let _ = isa;
    for (value, half) in target.iter_mut().zip(source) {
        *value = half.to_f32();
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn widen_f16_avx512(source: &[f16], target: &mut [f32]) {
    let whole = source.len() / 16 * 16;
    for index in (0..whole).step_by(16) {
        // SAFETY: 16 elements from `index` exist in both slices; f16 is a transparent u16.
        unsafe {
            let halves = _mm256_loadu_si256(source.as_ptr().add(index).cast());
            _mm512_storeu_ps(target.as_mut_ptr().add(index), _mm512_cvtph_ps(halves));
        }
    }
    for index in whole..source.len() {
        target[index] = source[index].to_f32();
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,f16c")]
fn widen_f16_f16c(source: &[f16], target: &mut [f32]) {
    let whole = source.len() / 8 * 8;
    for index in (0..whole).step_by(8) {
        // SAFETY: 8 elements from `index` exist in both slices; f16 is a transparent u16.
        unsafe {
            let halves = _mm_loadu_si128(source.as_ptr().add(index).cast());
            _mm256_storeu_ps(target.as_mut_ptr().add(index), _mm256_cvtph_ps(halves));
        }
    }
    for index in whole..source.len() {
        target[index] = source[index].to_f32();
    }
}

/// Decodes 4-bit weights `first..first + target.len()` to f32: codebook value times absmax.
pub fn decode_quant4(isa: Isa, view: &Quant4View<'_>, first: usize, target: &mut [f32]) {
    assert!(first + target.len() <= view.len(), "weights {first}+{} of {}", target.len(), view.len());
    let mut done = 0;
    while done < target.len() {
        let start = first + done;
        let block = start >> view.shift();
        let count = (((block + 1) << view.shift()) - start).min(target.len() - done);
        decode_block(isa, view, start, view.scale(block), &mut target[done..done + count]);
        done += count;
    }
}

/// Decodes weights of one block.
fn decode_block(isa: Isa, view: &Quant4View<'_>, start: usize, scale: f32, target: &mut [f32]) {
    let values = view.values();
    let one = |index: usize| {
        let byte = view.codes()[index / 2];
        values[usize::from(if index.is_multiple_of(2) { byte >> 4 } else { byte & 15 })] * scale
    };
    let head = (start % 2).min(target.len());
    if head == 1 {
        target[0] = one(start);
    }
    let pairs = (target.len() - head) / 2;
    let codes = &view.codes()[(start + head) / 2..(start + head) / 2 + pairs];
    let body = &mut target[head..head + 2 * pairs];
    let whole = match isa {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: AVX-512 was detected for this `isa`.
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::AmxBf16 => unsafe { decode_avx512(codes, values, scale, body) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: AVX2 was detected for this `isa`.
        Isa::Avx2 => unsafe { decode_avx2(codes, values, scale, body) },
        _ => 0,
    };
    for index in head + whole..target.len() {
        target[index] = one(start + index);
    }
}

/// Decodes groups of 16 weights; returns how many weights were written.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn decode_avx512(codes: &[u8], values: &[f32; 16], scale: f32, target: &mut [f32]) -> usize {
    // SAFETY: the table has 16 entries; group g reads codes 8g..8g + 8 and writes 16 targets from 16g.
    unsafe {
        let table = _mm512_mul_ps(_mm512_loadu_ps(values.as_ptr()), _mm512_set1_ps(scale));
        for group in 0..codes.len() / 8 {
            let wide = _mm512_cvtepu8_epi64(_mm_loadl_epi64(codes.as_ptr().add(8 * group).cast()));
            // Lower dword: byte >> 4, upper dword: byte. The permutation reads four bits only.
            let index = _mm512_or_si512(_mm512_srli_epi64::<4>(wide), _mm512_slli_epi64::<32>(wide));
            _mm512_storeu_ps(target.as_mut_ptr().add(16 * group), _mm512_permutexvar_ps(index, table));
        }
    }
    codes.len() / 8 * 16
}

/// Decodes groups of 8 weights; returns how many weights were written.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn decode_avx2(codes: &[u8], values: &[f32; 16], scale: f32, target: &mut [f32]) -> usize {
    // SAFETY: the table has 16 entries; group g reads codes 4g..4g + 4 and writes 8 targets from 8g.
    unsafe {
        let scale = _mm256_set1_ps(scale);
        let low = _mm256_mul_ps(_mm256_loadu_ps(values.as_ptr()), scale);
        let high = _mm256_mul_ps(_mm256_loadu_ps(values.as_ptr().add(8)), scale);
        for group in 0..codes.len() / 4 {
            let bytes = codes.as_ptr().add(4 * group).cast::<i32>().read_unaligned();
            let wide = _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(bytes));
            let index = _mm256_or_si256(_mm256_srli_epi64::<4>(wide), _mm256_slli_epi64::<32>(wide));
            // Bit 3 of the code, moved to the sign, chooses the half of the table.
            let upper = _mm256_castsi256_ps(_mm256_slli_epi32::<28>(index));
            let value =
                _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, index), _mm256_permutevar8x32_ps(high, index), upper);
            _mm256_storeu_ps(target.as_mut_ptr().add(8 * group), value);
        }
    }
    codes.len() / 4 * 8
}
