//! Tile registers (AMX): whether this process may use them, and how they are shaped.
//!
//! Eight registers of 16 rows of 64 bytes. Linux hands them out per process, on request, because they make a thread's
//! saved state 8 KiB larger.

use std::arch::asm;
use std::sync::OnceLock;

/// Rows of a tile, and 32-bit words of its rows.
pub const TILE: usize = 16;

/// True where the processor multiplies tiles of bf16 and the operating system lets this process use them.
pub fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| processor_has_tiles() && permitted())
}

/// AMX-BF16 (bit 22) and AMX-TILE (bit 24) of CPUID leaf 7.
fn processor_has_tiles() -> bool {
    let bits = 1 << 22 | 1 << 24;
    std::arch::x86_64::__cpuid(0).eax >= 7 && std::arch::x86_64::__cpuid_count(7, 0).edx & bits == bits
}

/// Asks Linux for the tile data (`ARCH_REQ_XCOMP_PERM`, component 18); every thread of the process has it from then on.
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XTILEDATA: libc::c_long = 18;
    // SAFETY: the call reads two numbers and changes only which registers this process may use.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// What `ldtilecfg` reads: palette 1, 64 bytes a row and 16 rows in each of the eight tiles.
#[repr(C, align(64))]
struct Shapes([u8; 64]);

static SHAPES: Shapes = {
    let mut bytes = [0u8; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 4 * TILE as u8;
        bytes[48 + tile] = TILE as u8;
        tile += 1;
    }
    Shapes(bytes)
};

/// The calling thread's tile registers, all of full size, until it is dropped.
pub struct Tiles {
    /// Registers belong to a thread.
    thread: std::marker::PhantomData<*const ()>,
}

impl Tiles {
    /// Shapes the registers.
    ///
    /// # Safety
    /// [`available`] said so.
    pub unsafe fn shape() -> Self {
        // SAFETY: the shapes are a valid palette; compiled code uses no tile registers.
        unsafe { asm!("ldtilecfg [{0}]", in(reg) &raw const SHAPES, options(nostack, readonly, preserves_flags)) };
        Self { thread: std::marker::PhantomData }
    }
}

impl Drop for Tiles {
    /// Gives the registers up, so that switching threads does not save them.
    fn drop(&mut self) {
        // SAFETY: the registers were shaped by this thread.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) };
    }
}

/// Right operand: word p of column j at `at + p·stride + j`.
#[derive(Clone, Copy)]
pub struct Columns {
    /// First word.
    pub at: *const u32,
    /// Words between steps.
    pub stride: usize,
}

/// What a product is added to: one value per element of C.
#[derive(Clone, Copy)]
pub struct Before {
    /// First element.
    pub at: *const f32,
    /// Elements between rows.
    pub stride: usize,
}

/// Steps of K: A holds, 16 steps after 16 steps, its 16 or 32 rows of 16 words (a word is a pair of bf16).
#[derive(Clone, Copy)]
pub struct Part {
    /// A multiple of 16.
    pub steps: usize,
    /// Left operand.
    pub a: *const u32,
    /// Right operand.
    pub b: Columns,
}

/// The sums of 32 rows by 32 columns, in the first four registers, begin with what was `before`, or zero.
///
/// # Safety
/// This thread holds [`Tiles`], and what was before covers them.
#[inline(always)]
pub unsafe fn begin_sums(before: Option<Before>) {
    // SAFETY: by the caller; compiled code uses no tile registers.
    unsafe {
        if let Some(Before { at, stride }) = before {
            let (stride, lower) = (4 * stride, at.wrapping_byte_add(64 * stride));
            asm!(
                "tileloadd tmm0, [{c}+{s}]",
                "tileloadd tmm1, [{c}+{s}+64]",
                "tileloadd tmm2, [{d}+{s}]",
                "tileloadd tmm3, [{d}+{s}+64]",
                c = in(reg) at, d = in(reg) lower, s = in(reg) stride, options(nostack, preserves_flags)
            );
        } else {
            asm!(
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                options(nostack, nomem, preserves_flags)
            );
        }
    }
}

/// Writes these sums to C, whose rows lie `stride` elements apart.
///
/// # Safety
/// As [`begin_sums`]; C covers 32 rows by 32 columns.
#[inline(always)]
pub unsafe fn end_sums(c: *mut f32, stride: usize) {
    let stride = 4 * stride;
    // SAFETY: by the caller.
    unsafe {
        asm!(
            "tilestored [{c}+{s}], tmm0",
            "tilestored [{c}+{s}+64], tmm1",
            "tilestored [{d}+{s}], tmm2",
            "tilestored [{d}+{s}+64], tmm3",
            c = in(reg) c, d = in(reg) c.wrapping_byte_add(16 * stride), s = in(reg) stride,
            options(nostack, preserves_flags)
        );
    }
}

/// As [`multiply`] of two tiles of rows and two of columns whose words lie together; asks for B two steps ahead into the
/// first cache, and at the end for what will be read after it, from `next` on.
///
/// # Safety
/// As [`multiply`].
pub unsafe fn multiply_ahead(parts: &[Part], before: Option<Before>, c: *mut f32, stride: usize, next: *const u32) {
    /// Steps of 16 words that are asked for ahead: a step of B is 2 KiB, four of them and a panel of A fill half of the
    /// first cache.
    const AHEAD: usize = 2;
    // SAFETY: extents by the caller; the registers are shaped, and compiled code uses none of them; what is asked for
    // need not exist.
    unsafe {
        begin_sums(before);
        for (index, Part { steps, a, b }) in parts.iter().enumerate() {
            let steps = steps / 16;
            // The last part asks for what comes next, the others for their own and what lies behind it.
            let tail = if index + 1 == parts.len() { steps.min(AHEAD) } else { 0 };
            let (mut a, mut b) = (*a, b.at);
            for (count, mut ahead) in [(steps - tail, b.wrapping_byte_add(2048 * AHEAD)), (tail, next)] {
                if count == 0 {
                    continue;
                }
                asm!(
                    "2:",
                    "tileloadd tmm4, [{a}+{l}]",
                    "prefetcht0 [{p}]", "prefetcht0 [{p}+64]", "prefetcht0 [{p}+128]", "prefetcht0 [{p}+192]",
                    "prefetcht0 [{p}+256]", "prefetcht0 [{p}+320]", "prefetcht0 [{p}+384]", "prefetcht0 [{p}+448]",
                    "tileloadd tmm6, [{b}+{m}]",
                    "tdpbf16ps tmm0, tmm4, tmm6",
                    "prefetcht0 [{p}+512]", "prefetcht0 [{p}+576]", "prefetcht0 [{p}+640]", "prefetcht0 [{p}+704]",
                    "prefetcht0 [{p}+768]", "prefetcht0 [{p}+832]", "prefetcht0 [{p}+896]", "prefetcht0 [{p}+960]",
                    "tileloadd tmm7, [{b}+{m}+64]",
                    "tdpbf16ps tmm1, tmm4, tmm7",
                    "prefetcht0 [{p}+1024]", "prefetcht0 [{p}+1088]", "prefetcht0 [{p}+1152]", "prefetcht0 [{p}+1216]",
                    "prefetcht0 [{p}+1280]", "prefetcht0 [{p}+1344]", "prefetcht0 [{p}+1408]", "prefetcht0 [{p}+1472]",
                    "tileloadd tmm5, [{a}+{l}+1024]",
                    "tdpbf16ps tmm2, tmm5, tmm6",
                    "prefetcht0 [{p}+1536]", "prefetcht0 [{p}+1600]", "prefetcht0 [{p}+1664]", "prefetcht0 [{p}+1728]",
                    "prefetcht0 [{p}+1792]", "prefetcht0 [{p}+1856]", "prefetcht0 [{p}+1920]", "prefetcht0 [{p}+1984]",
                    "tdpbf16ps tmm3, tmm5, tmm7",
                    "add {a}, 2048",
                    "add {b}, 2048",
                    "add {p}, 2048",
                    "dec {n}",
                    "jnz 2b",
                    a = inout(reg) a, b = inout(reg) b, p = inout(reg) ahead, n = inout(reg) count => _,
                    l = in(reg) 64usize, m = in(reg) 128usize, options(nostack)
                );
                let _ = ahead;
            }
        }
        end_sums(c, stride);
    }
}

/// C = before + the sum of A·B of all `parts` in whole tiles: one of rows, or `two`, by `V` of columns. `before` may be C
/// itself.
///
/// # Safety
/// A, B, C and what was before are as described, and this thread holds [`Tiles`].
pub unsafe fn multiply<const V: usize>(two: bool, parts: &[Part], before: Option<Before>, c: *mut f32, stride: usize) {
    let stride = 4 * stride;
    let lower = c.wrapping_byte_add(16 * stride);
    // SAFETY: extents by the caller; the registers are shaped, and compiled code uses none of them.
    unsafe {
        macro_rules! run {
            ($zero:tt $load:tt $body:tt $store:tt) => {{
                if let Some(Before { at, stride }) = before {
                    let (stride, lower) = (4 * stride, at.wrapping_byte_add(64 * stride));
                    asm!($load, c = in(reg) at, d = in(reg) lower, s = in(reg) stride, options(nostack, preserves_flags));
                } else {
                    asm!($zero, options(nostack, nomem, preserves_flags));
                }
                for Part { steps, a, b } in parts {
                    if *steps > 0 {
                        asm!(
                            "2:", $body, "dec {n}", "jnz 2b",
                            a = inout(reg) *a => _, b = inout(reg) b.at => _, n = inout(reg) *steps / 16 => _,
                            l = in(reg) 64usize, m = in(reg) 4 * b.stride, o = in(reg) 64 * b.stride, options(nostack)
                        );
                    }
                }
                asm!($store, c = in(reg) c, d = in(reg) lower, s = in(reg) stride, options(nostack, preserves_flags));
            }};
        }
        match (two, V) {
            (false, 1) => run!(
                "tilezero tmm0"
                "tileloadd tmm0, [{c}+{s}]\n/* {d} */"
                "tileloadd tmm4, [{a}+{l}]
                 tileloadd tmm6, [{b}+{m}]
                 tdpbf16ps tmm0, tmm4, tmm6
                 add {a}, 1024
                 add {b}, {o}"
                "tilestored [{c}+{s}], tmm0\n/* {d} */"
            ),
            (false, _) => run!(
                "tilezero tmm0
                 tilezero tmm1"
                "tileloadd tmm0, [{c}+{s}]
                 tileloadd tmm1, [{c}+{s}+64]\n/* {d} */"
                "tileloadd tmm4, [{a}+{l}]
                 tileloadd tmm6, [{b}+{m}]
                 tileloadd tmm7, [{b}+{m}+64]
                 tdpbf16ps tmm0, tmm4, tmm6
                 tdpbf16ps tmm1, tmm4, tmm7
                 add {a}, 1024
                 add {b}, {o}"
                "tilestored [{c}+{s}], tmm0
                 tilestored [{c}+{s}+64], tmm1\n/* {d} */"
            ),
            (true, 1) => run!(
                "tilezero tmm0
                 tilezero tmm2"
                "tileloadd tmm0, [{c}+{s}]
                 tileloadd tmm2, [{d}+{s}]"
                "tileloadd tmm4, [{a}+{l}]
                 tileloadd tmm6, [{b}+{m}]
                 tileloadd tmm5, [{a}+{l}+1024]
                 tdpbf16ps tmm0, tmm4, tmm6
                 tdpbf16ps tmm2, tmm5, tmm6
                 add {a}, 2048
                 add {b}, {o}"
                "tilestored [{c}+{s}], tmm0
                 tilestored [{d}+{s}], tmm2"
            ),
            (true, _) => run!(
                "tilezero tmm0
                 tilezero tmm1
                 tilezero tmm2
                 tilezero tmm3"
                "tileloadd tmm0, [{c}+{s}]
                 tileloadd tmm1, [{c}+{s}+64]
                 tileloadd tmm2, [{d}+{s}]
                 tileloadd tmm3, [{d}+{s}+64]"
                "tileloadd tmm4, [{a}+{l}]
                 tileloadd tmm6, [{b}+{m}]
                 tdpbf16ps tmm0, tmm4, tmm6
                 tileloadd tmm7, [{b}+{m}+64]
                 tdpbf16ps tmm1, tmm4, tmm7
                 tileloadd tmm5, [{a}+{l}+1024]
                 tdpbf16ps tmm2, tmm5, tmm6
                 tdpbf16ps tmm3, tmm5, tmm7
                 add {a}, 2048
                 add {b}, {o}"
                "tilestored [{c}+{s}], tmm0
                 tilestored [{c}+{s}+64], tmm1
                 tilestored [{d}+{s}], tmm2
                 tilestored [{d}+{s}+64], tmm3"
            ),
        }
    }
}

/// Lines that a product asks for while it runs, into the second cache: two a step of 16 words.
#[derive(Clone, Copy)]
pub struct Ahead {
    /// The first line of each of two stretches of memory, which need not exist.
    pub at: [*const u8; 2],
}

impl Ahead {
    /// Nothing of use: a line that is near already.
    pub fn nothing<T>(near: *const T) -> Self {
        Self { at: [near.cast(), near.cast()] }
    }
}

/// Bytes of each stretch that a step asks for.
pub const AHEAD_BYTES: usize = 128;

/// A product of one part into 32 rows by 32 columns, which waits in the registers between its steps: other work in
/// between runs while the tiles of earlier steps are multiplied.
pub struct Product {
    a: *const u32,
    b: Columns,
    ahead: Ahead,
}

impl Product {
    /// Sums begin with what was `before`.
    ///
    /// # Safety
    /// As [`multiply`], of the `part` and `before`; no other product begins until [`Self::end`].
    pub unsafe fn begin(part: &Part, before: Option<Before>, ahead: Ahead) -> Self {
        // SAFETY: extents by the caller; compiled code uses no tile registers.
        unsafe {
            begin_sums(before);
        }
        Self { a: part.a, b: part.b, ahead }
    }

    /// The next `count` times 16 steps, of which each asks for memory ahead.
    ///
    /// # Safety
    /// The part has that many left.
    pub unsafe fn steps(&mut self, count: usize) {
        let Self { a, b, ahead } = self;
        if count == 0 {
            return;
        }
        let [p, q] = &mut ahead.at;
        // SAFETY: extents by the caller; requests for memory never fault; compiled code uses no tile registers.
        unsafe {
            asm!(
                "2:",
                "tileloadd tmm4, [{a}+{l}]",
                "tileloadd tmm6, [{b}+{m}]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "prefetcht1 [{p}]",
                "prefetcht1 [{p}+64]",
                "tileloadd tmm7, [{b}+{m}+64]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "prefetcht1 [{q}]",
                "prefetcht1 [{q}+64]",
                "tileloadd tmm5, [{a}+{l}+1024]",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                "add {a}, 2048",
                "add {b}, {o}",
                "sub {p}, -128",
                "sub {q}, -128",
                "dec {n}",
                "jnz 2b",
                a = inout(reg) *a, b = inout(reg) b.at, n = inout(reg) count => _, p = inout(reg) *p, q = inout(reg) *q,
                l = in(reg) 64usize, m = in(reg) 4 * b.stride, o = in(reg) 64 * b.stride, options(nostack)
            );
        }
    }

    /// Writes the sums to C, whose rows lie `stride` elements apart.
    ///
    /// # Safety
    /// C covers 32 rows by 32 columns.
    pub unsafe fn end(self, c: *mut f32, stride: usize) {
        // SAFETY: by the caller.
        unsafe { end_sums(c, stride) };
    }
}
