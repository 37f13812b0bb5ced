//! Eight-lane arrays: plain Rust that the compiler turns into whatever the baseline target has.

use super::{Kernel, Simd};

/// Token of the portable path.
#[derive(Clone, Copy)]
pub struct Portable;

const LANES: usize = 8;

#[inline(always)]
fn zip(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> f32) -> [f32; LANES] {
    let mut out = [0.0; LANES];
    for lane in 0..LANES {
        out[lane] = f(a[lane], b[lane]);
    }
    out
}

#[inline(always)]
fn compare(a: [f32; LANES], b: [f32; LANES], f: impl Fn(f32, f32) -> bool) -> [bool; LANES] {
    let mut out = [false; LANES];
    for lane in 0..LANES {
        out[lane] = f(a[lane], b[lane]);
    }
    out
}

impl Simd for Portable {
    type F = [f32; LANES];
    type M = [bool; LANES];
    const LANES: usize = LANES;
    const TILE_ROWS: usize = 3;
    const TILE_VECTORS: usize = 1;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }
    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> Self::F {
        // SAFETY: the caller guarantees LANES readable elements.
        unsafe { at.cast::<[f32; LANES]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32, v: Self::F) {
        // SAFETY: the caller guarantees LANES writable elements.
        unsafe { at.cast::<[f32; LANES]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_part(self, at: *const f32, count: usize) -> Self::F {
        let mut out = [0.0; LANES];
        for (lane, value) in out.iter_mut().enumerate().take(count) {
            // SAFETY: the caller guarantees `count` readable elements.
            *value = unsafe { *at.add(lane) };
        }
        out
    }
    #[inline(always)]
    unsafe fn store_part(self, at: *mut f32, count: usize, v: Self::F) {
        for (lane, value) in v.iter().enumerate().take(count) {
            // SAFETY: the caller guarantees `count` writable elements.
            unsafe { *at.add(lane) = *value };
        }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, at: *const u16) -> Self::F {
        let mut out = [0.0; LANES];
        for (lane, value) in out.iter_mut().enumerate() {
            // SAFETY: the caller guarantees LANES readable elements.
            *value = f32::from_bits(u32::from(unsafe { *at.add(lane) }) << 16);
        }
        out
    }
    #[inline(always)]
    unsafe fn store_bf16(self, at: *mut u16, v: Self::F) {
        for (lane, value) in v.iter().enumerate() {
            // SAFETY: the caller guarantees LANES writable elements.
            unsafe { at.add(lane).write_unaligned(half::bf16::from_f32(*value).to_bits()) };
        }
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| x + y)
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| x - y)
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| x * y)
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| x / y)
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        // Not `mul_add`: without the instruction that is a library call per lane.
        self.add(self.mul(a, b), c)
    }
    #[inline(always)]
    fn fnma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        self.sub(c, self.mul(a, b))
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| if x > y { x } else { y })
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        zip(a, b, |x, y| if x < y { x } else { y })
    }
    #[inline(always)]
    fn sqrt(self, a: Self::F) -> Self::F {
        zip(a, a, |x, _| x.sqrt())
    }
    #[inline(always)]
    fn abs(self, a: Self::F) -> Self::F {
        zip(a, a, |x, _| f32::from_bits(x.to_bits() & 0x7fff_ffff))
    }
    #[inline(always)]
    fn round(self, a: Self::F) -> Self::F {
        // Adding and taking away 1.5·2²³ rounds to nearest even for |x| < 2²², the domain of use;
        // larger values are integers' neighbours already and are passed through.
        const MAGIC: f32 = 12_582_912.0;
        zip(a, a, |x, _| if x.abs() < 4_194_304.0 { (x + MAGIC) - MAGIC } else { x })
    }
    #[inline(always)]
    fn exp2_int(self, n: Self::F) -> Self::F {
        // 2²³·1.5 added puts n into the low mantissa bits without a float-to-int conversion.
        zip(n, n, |x, _| f32::from_bits((x + (12_582_912.0 + 127.0)).to_bits() << 23))
    }
    #[inline(always)]
    fn frexp(self, a: Self::F) -> (Self::F, Self::F) {
        let m = zip(a, a, |x, _| f32::from_bits((x.to_bits() & 0x007f_ffff) | 0x3f00_0000));
        let e = zip(a, a, |x, _| ((x.to_bits() >> 23) as i32 - 126) as f32);
        (m, e)
    }
    #[inline(always)]
    fn copysign(self, a: Self::F, s: Self::F) -> Self::F {
        zip(a, s, f32::copysign)
    }
    #[inline(always)]
    fn lt(self, a: Self::F, b: Self::F) -> Self::M {
        compare(a, b, |x, y| x < y)
    }
    #[inline(always)]
    fn le(self, a: Self::F, b: Self::F) -> Self::M {
        compare(a, b, |x, y| x <= y)
    }
    #[inline(always)]
    fn eq(self, a: Self::F, b: Self::F) -> Self::M {
        compare(a, b, |x, y| x == y)
    }
    #[inline(always)]
    fn select(self, mask: Self::M, a: Self::F, b: Self::F) -> Self::F {
        let mut out = b;
        for lane in 0..LANES {
            if mask[lane] {
                out[lane] = a[lane];
            }
        }
        out
    }
    #[inline(always)]
    fn sum(self, a: Self::F) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    fn largest(self, a: Self::F) -> f32 {
        a.iter().copied().fold(f32::NEG_INFINITY, |x, y| if x > y { x } else { y })
    }
    #[inline(never)]
    fn call<K: Kernel>(self, kernel: K) -> K::Output {
        kernel.run(self)
    }
}
