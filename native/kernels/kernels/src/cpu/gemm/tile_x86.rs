//! Micro-kernels for x86-64: AVX2 6x16, AVX-512F 14x32 and AVX-512-BF16 14x32 (`vdpbf16ps`).
//! The tile lives in registers for the whole K block: 12 of 16 and 28 of 32 of them are accumulators.

use crate::cpu::gemm::kernel::{MicroKernel, PanelWord, Part, RowLayout, TileFn, Write};
use crate::cpu::isa::Isa;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

macro_rules! heights {
    ($tile:ident: $($rows:literal)*) => { &[$([$tile::<$rows, 1> as TileFn, $tile::<$rows, 2> as TileFn]),*] };
}

/// AVX2 + FMA, 6x16.
#[cfg(target_arch = "x86_64")]
pub const AVX2: MicroKernel = MicroKernel {
    isa: Isa::Avx2,
    name: "avx2 6x16",
    rows: 6,
    layout: RowLayout::Steps,
    columns: 16,
    word: PanelWord::F32,
    block_words: 1024,
    row_block_bytes: 256 << 10,
    streams: false,
    tiles: heights!(tile_avx2: 1 2 3 4 5 6),
};

/// AVX-512F, 14x32.
#[cfg(target_arch = "x86_64")]
pub const AVX512: MicroKernel = MicroKernel {
    isa: Isa::Avx512,
    name: "avx512 14x32",
    rows: 14,
    layout: RowLayout::Steps,
    columns: 32,
    word: PanelWord::F32,
    block_words: 1024,
    row_block_bytes: 512 << 10,
    streams: true,
    tiles: heights!(tile_avx512: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
};

/// AVX-512-BF16, 14x32, two k per step.
#[cfg(target_arch = "x86_64")]
pub const AVX512_BF16: MicroKernel = MicroKernel {
    isa: Isa::Avx512Bf16,
    name: "avx512bf16 14x32",
    rows: 14,
    layout: RowLayout::Steps,
    columns: 32,
    word: PanelWord::Bf16Pair,
    block_words: 1536,
    row_block_bytes: 512 << 10,
    streams: true,
    tiles: heights!(tile_avx512_bf16: 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
};

#[cfg(not(target_arch = "x86_64"))]
pub use super::tile_portable::{KERNEL as AVX2, KERNEL as AVX512, KERNEL as AVX512_BF16};

/// Steps of K between the words of a row panel that are read and those that are asked for.
#[cfg(target_arch = "x86_64")]
const AHEAD: usize = 64;

/// See [`TileFn`].
///
/// # Safety
/// As [`TileFn`].
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile_avx2<const R: usize, const V: usize>(parts: &[Part], c: *mut f32, stride: usize, write: Write) {
    let mut sums = [[_mm256_setzero_ps(); V]; R];
    // SAFETY: the caller's panels hold `steps` groups of R and 8 V words, and its tile of C covers
    // R rows of 8 V columns.
    unsafe {
        for r in 0..R {
            _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(r * stride).cast());
            _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(r * stride + 8 * V - 1).cast());
        }
        macro_rules! step {
            ($a:ident, $b:ident, $index:expr) => {
                let mut right = [_mm256_setzero_ps(); V];
                for v in 0..V {
                    right[v] = _mm256_loadu_ps($b.add(8 * V * $index + 8 * v));
                }
                for r in 0..R {
                    let left = _mm256_broadcast_ss(&*$a.add(R * $index + r));
                    for v in 0..V {
                        sums[r][v] = _mm256_fmadd_ps(left, right[v], sums[r][v]);
                    }
                }
            };
        }
        for Part { steps, a, b, factor } in parts {
            let (mut a, mut b) = (a.cast::<f32>(), b.cast::<f32>());
            for _ in 0..steps / 4 {
                // The row panel streams past from a farther cache; the column panel stays in the nearest.
                for line in 0..(4 * R).div_ceil(16) {
                    _mm_prefetch::<_MM_HINT_T0>(a.wrapping_add(AHEAD * R + 16 * line).cast());
                }
                step!(a, b, 0);
                step!(a, b, 1);
                step!(a, b, 2);
                step!(a, b, 3);
                a = a.add(4 * R);
                b = b.add(32 * V);
            }
            for _ in 0..steps % 4 {
                step!(a, b, 0);
                a = a.add(R);
                b = b.add(8 * V);
            }
            if *factor != 1.0 {
                for row in &mut sums {
                    for sum in row {
                        *sum = _mm256_mul_ps(*sum, _mm256_set1_ps(*factor));
                    }
                }
            }
        }
        for r in 0..R {
            for v in 0..V {
                let target = c.add(r * stride + 8 * v);
                let value = if write == Write::Accumulate {
                    _mm256_add_ps(sums[r][v], _mm256_loadu_ps(target))
                } else {
                    sums[r][v]
                };
                _mm256_storeu_ps(target, value);
            }
        }
    }
}

macro_rules! tile_512 {
    ($name:ident, $features:literal, $multiply:expr) => {
        /// See [`TileFn`].
        ///
        /// # Safety
        /// As [`TileFn`].
        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = $features)]
        unsafe fn $name<const R: usize, const V: usize>(parts: &[Part], c: *mut f32, stride: usize, write: Write) {
            let mut sums = [[_mm512_setzero_ps(); V]; R];
            // SAFETY: the caller's panels hold `steps` groups of R and 16 V words, and its tile of C
            // covers R rows of 16 V columns; prefetches may point anywhere.
            unsafe {
                if write != Write::Stream {
                    for r in 0..R {
                        for v in 0..V {
                            _mm_prefetch::<_MM_HINT_T0>(c.wrapping_add(r * stride + 16 * v).cast());
                        }
                    }
                }
                for Part { steps, a, b, factor } in parts {
                    let (mut a, mut b) = (a.cast::<f32>(), b.cast::<f32>());
                    for _ in 0..*steps {
                        let mut right = [_mm512_setzero_ps(); V];
                        for v in 0..V {
                            right[v] = _mm512_loadu_ps(b.add(16 * v));
                            _mm_prefetch::<_MM_HINT_T0>(b.wrapping_add(16 * (V * 8 + v)).cast());
                        }
                        for r in 0..R {
                            let left = _mm512_set1_ps(*a.add(r));
                            for v in 0..V {
                                sums[r][v] = $multiply(sums[r][v], left, right[v]);
                            }
                        }
                        a = a.add(R);
                        b = b.add(16 * V);
                    }
                    if *factor != 1.0 {
                        for row in &mut sums {
                            for sum in row {
                                *sum = _mm512_mul_ps(*sum, _mm512_set1_ps(*factor));
                            }
                        }
                    }
                }
                for r in 0..R {
                    for v in 0..V {
                        let target = c.add(r * stride + 16 * v);
                        match write {
                            Write::Overwrite => _mm512_storeu_ps(target, sums[r][v]),
                            Write::Stream => _mm512_stream_ps(target, sums[r][v]),
                            Write::Accumulate => {
                                let value = _mm512_add_ps(sums[r][v], _mm512_loadu_ps(target));
                                _mm512_storeu_ps(target, value);
                            }
                        }
                    }
                }
            }
        }
    };
}

tile_512!(tile_avx512, "avx512f", |sum, left, right| _mm512_fmadd_ps(left, right, sum));
tile_512!(tile_avx512_bf16, "avx512f,avx512bf16", |sum, left: __m512, right: __m512| {
    // Both casts only rename the register: each lane holds a pair of bf16.
    let (left, right) = (std::mem::transmute::<__m512, __m512bh>(left), std::mem::transmute::<__m512, __m512bh>(right));
    _mm512_dpbf16_ps(sum, left, right)
});
