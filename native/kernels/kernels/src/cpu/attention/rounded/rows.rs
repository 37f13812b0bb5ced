//! Rows of a head as they are stored, f32 or bf16, in vectors.

use super::super::pack::Rows as Stored;
use super::ahead::Strip;
use std::arch::x86_64::*;

/// Where the rows of one key-value head lie: row r is head `head + r % group` of token `token + r / group`.
#[derive(Clone, Copy)]
pub struct Place {
    /// First token.
    pub token: usize,
    /// Number of rows.
    pub count: usize,
    /// Heads per token.
    pub heads: usize,
    /// First head.
    pub head: usize,
    /// Heads per token that are rows.
    pub group: usize,
    /// Elements per row.
    pub dim: usize,
}

impl Place {
    /// Index of the first element of a row.
    pub fn start(&self, row: usize) -> usize {
        ((self.token + row / self.group) * self.heads + self.head + row % self.group) * self.dim
    }

    /// The rows as they lie in a tensor [T, heads, dim] of elements of `size` bytes that begins at `base`.
    pub fn strip(&self, base: *const u8, size: usize) -> Strip {
        let (stride, span) = (self.heads * self.dim * size, self.group * self.dim * size);
        let at = base.wrapping_add((self.token * self.heads + self.head) * self.dim * size);
        Strip { at, stride, count: self.count / self.group, span }
    }
}

/// Rows and their elements.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// [T, heads, dim] elements.
    pub values: Stored<'a>,
    /// Where the rows lie in them.
    pub place: Place,
}

impl Rows<'_> {
    /// The rows as they lie in memory.
    pub fn strip(&self) -> Strip {
        match self.values {
            Stored::F32(values) => self.place.strip(values.as_ptr().cast(), 4),
            Stored::BF16(values) => self.place.strip(values.as_ptr().cast(), 2),
        }
    }

    /// Panics unless all rows lie inside the tensor.
    pub fn check(&self) {
        let last = self.place.count.checked_sub(1).map_or(0, |row| self.place.start(row) + self.place.dim);
        assert!(last <= self.values.elements(), "rows beyond their tensor");
    }
}

/// A tensor that is written.
#[derive(Clone, Copy)]
pub enum Written {
    /// f32 elements.
    F32(*mut f32),
    /// bf16 bits, rounded to nearest even.
    BF16(*mut u16),
}

// SAFETY: carries the address of an output that outlives the pool's run; tasks write disjoint rows.
unsafe impl Send for Written {}
// SAFETY: as above.
unsafe impl Sync for Written {}

impl Written {
    /// Memory that rows at `place` take.
    pub fn strip(self, place: &Place) -> Strip {
        match self {
            Self::F32(at) => place.strip(at.cast_const().cast(), 4),
            Self::BF16(at) => place.strip(at.cast_const().cast(), 2),
        }
    }
}

/// A mask of the first `count` of 16 lanes.
#[inline]
fn lanes(count: usize) -> u16 {
    if count >= 16 { u16::MAX } else { (1 << count) - 1 }
}

/// A mask of the first `count` of 32 lanes.
#[inline]
fn lanes32(count: usize) -> u32 {
    if count >= 32 { u32::MAX } else { (1 << count) - 1 }
}

/// Elements as vectors. In all functions, elements from `count` on are zero and not touched in memory.
pub trait Element: Copy {
    /// 32 elements as bf16.
    ///
    /// # Safety
    /// AVX-512 F, BW, VL and BF16 exist and the elements are readable.
    unsafe fn halves(at: *const Self, count: usize) -> __m512i;

    /// 16 elements of two rows as bf16, paired lane by lane, the first row's in the low halves.
    ///
    /// # Safety
    /// As [`Self::halves`].
    unsafe fn pairs(rows: [*const Self; 2], counts: [usize; 2]) -> __m512i;

    /// 16 elements as f32.
    ///
    /// # Safety
    /// As [`Self::halves`].
    unsafe fn wide(at: *const Self, count: usize) -> __m512;

    /// Writes the first `count` of 32 elements.
    ///
    /// # Safety
    /// As [`Self::halves`], with writable elements.
    unsafe fn write(at: *mut Self, count: usize, values: [__m512; 2]);

    /// Writes 32 elements past the caches.
    ///
    /// # Safety
    /// As [`Self::write`], at a multiple of 64 bytes; a fence must follow before another thread reads them.
    unsafe fn stream(at: *mut Self, values: [__m512; 2]);

    /// [`Self::write`], past the caches where wanted and possible.
    ///
    /// # Safety
    /// As both.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn put(at: *mut Self, count: usize, values: [__m512; 2], streams: bool) {
        // SAFETY: by the caller; aligned where it streams.
        unsafe {
            if streams && count >= 32 && at.addr().is_multiple_of(64) {
                Self::stream(at, values);
            } else {
                Self::write(at, count, values);
            }
        }
    }
}

impl Element for f32 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn halves(at: *const Self, count: usize) -> __m512i {
        // SAFETY: masked lanes are not touched; by the caller for the others.
        unsafe {
            let low = _mm512_maskz_loadu_ps(lanes(count), at);
            let high = _mm512_maskz_loadu_ps(lanes(count.saturating_sub(16)), at.wrapping_add(16));
            round(low, high)
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn pairs(rows: [*const Self; 2], counts: [usize; 2]) -> __m512i {
        // SAFETY: as above.
        unsafe {
            let low = _mm512_maskz_loadu_ps(lanes(counts[0]), rows[0]);
            let high = _mm512_maskz_loadu_ps(lanes(counts[1]), rows[1]);
            _mm512_permutexvar_epi16(interleave(), round(low, high))
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn wide(at: *const Self, count: usize) -> __m512 {
        // SAFETY: as above.
        unsafe { _mm512_maskz_loadu_ps(lanes(count), at) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn write(at: *mut Self, count: usize, values: [__m512; 2]) {
        // SAFETY: as above.
        unsafe {
            _mm512_mask_storeu_ps(at, lanes(count), values[0]);
            _mm512_mask_storeu_ps(at.wrapping_add(16), lanes(count.saturating_sub(16)), values[1]);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn stream(at: *mut Self, values: [__m512; 2]) {
        // SAFETY: by the caller.
        unsafe {
            _mm512_stream_ps(at, values[0]);
            _mm512_stream_ps(at.add(16), values[1]);
        }
    }
}

impl Element for u16 {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn halves(at: *const Self, count: usize) -> __m512i {
        // SAFETY: masked lanes are not touched; by the caller for the others.
        unsafe { _mm512_maskz_loadu_epi16(lanes32(count), at.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn pairs(rows: [*const Self; 2], counts: [usize; 2]) -> __m512i {
        // SAFETY: as above.
        unsafe {
            let low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes(counts[0]), rows[0].cast()));
            let high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes(counts[1]), rows[1].cast()));
            _mm512_or_si512(low, _mm512_slli_epi32::<16>(high))
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn wide(at: *const Self, count: usize) -> __m512 {
        // SAFETY: as above.
        let bits = unsafe { _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes(count), at.cast())) };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(bits))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn write(at: *mut Self, count: usize, values: [__m512; 2]) {
        // SAFETY: as above.
        unsafe { _mm512_mask_storeu_epi16(at.cast(), lanes32(count), round(values[0], values[1])) };
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn stream(at: *mut Self, values: [__m512; 2]) {
        // SAFETY: by the caller.
        unsafe { _mm512_stream_si512(at.cast(), round(values[0], values[1])) };
    }
}

/// Two vectors rounded to bf16, one after the other.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
pub fn round(low: __m512, high: __m512) -> __m512i {
    // SAFETY: the cast only renames the register.
    unsafe { std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low)) }
}

/// The permutation that brings the halves of [`round`] into pairs.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub fn interleave() -> __m512i {
    // Half i takes half i / 2 of the first or second vector.
    let low = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let high = _mm512_slli_epi32::<16>(_mm512_add_epi32(low, _mm512_set1_epi32(16)));
    _mm512_or_si512(low, high)
}
