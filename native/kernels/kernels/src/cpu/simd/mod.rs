//! One vector abstraction for all non-GEMM kernels: a kernel is written once, generically, and
//! compiled per instruction set.
//!
//! A value of a [`Simd`] type is a token: it exists only where its instructions may run, so all
//! arithmetic on it is safe. [`dispatch`] makes the token inside a function that carries the matching
//! `target_feature`; everything below is `#[inline(always)]` and therefore compiled with it.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

pub mod math;
pub mod pointwise;
mod portable;
pub mod span;

use crate::cpu::isa::Isa;

#[cfg(target_arch = "x86_64")]
pub use avx2::Avx2;
#[cfg(target_arch = "x86_64")]
pub use avx512::Avx512;
pub use portable::Portable;

/// Vectors of f32 and the operations that the kernels need.
///
/// `max`/`min` follow x86: when an operand is NaN the *second* one is returned on every path, so
/// `max(bound, x)` keeps a NaN `x`.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Vector of `LANES` f32.
    type F: Copy;
    /// Lane mask.
    type M: Copy;
    /// f32 lanes of one vector.
    const LANES: usize;
    /// Accumulator rows of the attention micro-kernel, chosen so that tile and operands fit the
    /// register file.
    const TILE_ROWS: usize;
    /// Accumulator vectors per row of the attention micro-kernel.
    const TILE_VECTORS: usize;

    /// All lanes `x`.
    fn splat(self, x: f32) -> Self::F;
    /// # Safety
    /// `LANES` f32 are readable at `at`; no alignment is needed.
    unsafe fn load(self, at: *const f32) -> Self::F;
    /// # Safety
    /// `LANES` f32 are writable at `at`.
    unsafe fn store(self, at: *mut f32, v: Self::F);
    /// The first `count < LANES` lanes, the others zero.
    /// # Safety
    /// `count` f32 are readable at `at`.
    unsafe fn load_part(self, at: *const f32, count: usize) -> Self::F;
    /// Stores the first `count < LANES` lanes.
    /// # Safety
    /// `count` f32 are writable at `at`.
    unsafe fn store_part(self, at: *mut f32, count: usize, v: Self::F);
    /// Widens `LANES` bf16.
    /// # Safety
    /// `LANES` u16 are readable at `at`.
    unsafe fn load_bf16(self, at: *const u16) -> Self::F;
    /// Rounds to `LANES` bf16, to nearest even; a NaN stays one.
    /// # Safety
    /// `LANES` u16 are writable at `at`.
    unsafe fn store_bf16(self, at: *mut u16, v: Self::F);

    /// a + b.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// a − b.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// a · b.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// a / b.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// a · b + c (one rounding where the instruction exists, two on the portable path).
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// c − a · b.
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// a > b ? a : b.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// a < b ? a : b.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// Square root.
    fn sqrt(self, a: Self::F) -> Self::F;
    /// Absolute value.
    fn abs(self, a: Self::F) -> Self::F;
    /// Nearest integer, ties to even.
    fn round(self, a: Self::F) -> Self::F;
    /// 2ⁿ for integral n in −126 … 127.
    fn exp2_int(self, n: Self::F) -> Self::F;
    /// (m, e) with a = m · 2ᵉ and m in [0.5, 1) for positive normal a.
    fn frexp(self, a: Self::F) -> (Self::F, Self::F);
    /// Magnitude of `a` with the sign of `s`.
    fn copysign(self, a: Self::F, s: Self::F) -> Self::F;
    /// a < b per lane; false when a NaN is involved.
    fn lt(self, a: Self::F, b: Self::F) -> Self::M;
    /// a ≤ b per lane.
    fn le(self, a: Self::F, b: Self::F) -> Self::M;
    /// a = b per lane.
    fn eq(self, a: Self::F, b: Self::F) -> Self::M;
    /// mask ? a : b.
    fn select(self, mask: Self::M, a: Self::F, b: Self::F) -> Self::F;
    /// Sum of the lanes in a fixed order.
    fn sum(self, a: Self::F) -> f32;
    /// Largest lane.
    fn largest(self, a: Self::F) -> f32;
    /// Runs another kernel with the same vectors, out of line: bounds code size where inlining would
    /// repeat a large body at every use.
    fn call<K: Kernel>(self, kernel: K) -> K::Output;
    /// −a.
    #[inline(always)]
    fn neg(self, a: Self::F) -> Self::F {
        self.sub(self.splat(-0.0), a)
    }
}

/// Asks for the cache line of an address, which need not exist, where the processor can be asked.
#[inline(always)]
pub fn prefetch<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint that never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// As [`prefetch`], into the second cache: what is far ahead does not take room from misses of the first.
#[inline(always)]
pub fn prefetch_far<T>(at: *const T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint that never faults.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T1 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// A kernel that is generic over the instruction set.
pub trait Kernel {
    /// What the kernel returns.
    type Output;
    /// Runs on the vectors of `S`. Implementations are `#[inline(always)]`.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// Runs `kernel` with the vectors of `isa`, which must be one that this machine offers.
#[inline]
pub fn dispatch<K: Kernel>(isa: Isa, kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    match isa {
        Isa::Portable => kernel.run(Portable),
        // SAFETY: `Isa` values other than `Portable` come from detection, so the features exist.
        Isa::Avx2 => unsafe { run_avx2(kernel) },
        // SAFETY: as above.
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::AmxBf16 => unsafe { run_avx512(kernel) },
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let _ = isa;
        kernel.run(Portable)
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
unsafe fn run_avx2<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: this function's own target features are the ones the token stands for.
    kernel.run(unsafe { Avx2::new() })
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,avx512f,avx512bw,avx512dq,avx512vl")]
#[inline(never)]
unsafe fn run_avx512<K: Kernel>(kernel: K) -> K::Output {
    // SAFETY: this function's own target features are the ones the token stands for.
    kernel.run(unsafe { Avx512::new() })
}
