//! Products of bf16 pairs inside attention, a block of 32 by 32 at a time: C (+)= A · B, sums in f32.
//!
//! A word holds elements 2p and 2p + 1 of the inner extent, the first in the low half. Operands lie as tile registers
//! load them, so that nothing is gathered, and whoever packs them fills what is missing of a block with zeros.

use super::pack::BLOCK;
use crate::cpu::amx::{Before, begin_sums, end_sums};
use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::transmute;

/// Inner words per slab of A, and rows of a tile register.
pub const SLAB: usize = 16;

/// C (+)= A · B for 32 rows and 32 columns.
#[derive(Clone, Copy)]
pub struct Block {
    /// Inner words, a multiple of 16; with 0, C is only set to zero.
    pub steps: usize,
    /// A: word p of row i at `a + (p / 16)·slab + 16·i + p % 16`.
    pub a: *const u32,
    /// Words between slabs of A.
    pub slab: usize,
    /// B: word p of column j at `b + 32·p + j`.
    pub b: *const u32,
    /// C: element (i, j) at `c + 32·i + j`.
    pub c: *mut f32,
    /// Rows wanted; the others are unspecified.
    pub rows: usize,
    /// Whether C is added to.
    pub add: bool,
    /// Whether this thread holds tile registers ([`crate::cpu::amx::Tiles`]).
    pub tiles: bool,
}

impl Block {
    /// Runs the product.
    ///
    /// # Safety
    /// AVX-512 F, BW and BF16 exist, all addresses described above are valid, and C overlaps neither A nor B.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    pub unsafe fn multiply(&self) {
        // SAFETY: by the caller.
        unsafe {
            if self.tiles {
                return self.in_tiles();
            }
            for row in (0..self.rows).step_by(8) {
                self.eight_rows(row);
            }
        }
    }

    /// # Safety
    /// As [`Self::multiply`], and this thread holds tile registers.
    #[inline]
    unsafe fn in_tiles(&self) {
        let c = self.c;
        let width = 4 * BLOCK;
        // SAFETY: extents by the caller; the registers are shaped, and compiled code uses none of them.
        unsafe {
            begin_sums(self.add.then_some(Before { at: c, stride: BLOCK }));
            if self.steps > 0 {
                asm!(
                    "2:",
                    "tileloadd tmm4, [{a}+{l}]",
                    "tileloadd tmm6, [{b}+{m}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "tileloadd tmm7, [{b}+{m}+64]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "tileloadd tmm5, [{a}+{l}+1024]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {a}, {o}",
                    "add {b}, 2048",
                    "dec {n}",
                    "jnz 2b",
                    a = inout(reg) self.a => _, b = inout(reg) self.b => _, n = inout(reg) self.steps / SLAB => _,
                    l = in(reg) 64usize, m = in(reg) width, o = in(reg) 4 * self.slab, options(nostack)
                );
            }
            end_sums(c, BLOCK);
        }
    }

    /// Rows `row..row + 8`: 16 sums, two vectors of B and the broadcast word of A.
    ///
    /// # Safety
    /// As [`Self::multiply`].
    #[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
    unsafe fn eight_rows(&self, row: usize) {
        let mut sums = [[_mm512_setzero_ps(); 2]; 8];
        // SAFETY: extents by the caller; the casts only rename registers, whose lanes hold pairs of bf16.
        unsafe {
            let c = self.c.add(row * BLOCK);
            for slab in 0..self.steps / SLAB {
                let a = self.a.add(slab * self.slab + row * SLAB);
                let b = self.b.add(slab * SLAB * BLOCK);
                for step in 0..SLAB {
                    let low = transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.add(step * BLOCK).cast()));
                    let high = transmute::<__m512i, __m512bh>(_mm512_loadu_si512(b.add(step * BLOCK + 16).cast()));
                    for i in 0..8 {
                        let word = _mm512_set1_epi32(*a.add(i * SLAB + step).cast::<i32>());
                        let word = transmute::<__m512i, __m512bh>(word);
                        sums[i][0] = _mm512_dpbf16_ps(sums[i][0], word, low);
                        sums[i][1] = _mm512_dpbf16_ps(sums[i][1], word, high);
                    }
                }
            }
            for i in 0..8 {
                for half in 0..2 {
                    let target = c.add(i * BLOCK + 16 * half);
                    let before = if self.add { _mm512_loadu_ps(target) } else { _mm512_setzero_ps() };
                    _mm512_storeu_ps(target, _mm512_add_ps(before, sums[i][half]));
                }
            }
        }
    }
}
