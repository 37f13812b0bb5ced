//! The machine's limits, measured: multiply-adds from registers and bytes from memory.

#[cfg(target_arch = "x86_64")]
use crate::cpu::amx;
use crate::cpu::gemm::kernel::PanelWord;
use crate::cpu::isa::Isa;
use crate::cpu::pool::{Pool, SharedMut};
use std::hint::black_box;
use std::time::Instant;

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Rounds of twelve independent chains that stay in registers: enough to hide the latency of two units of six cycles.
/// More are spilled by the compiler, which gives this loop sixteen registers, and the loop would measure stores.
#[cfg(target_arch = "x86_64")]
macro_rules! chains {
    ($start:expr, |$sum:ident| $next:expr) => {
        chains!($start, |$sum| $next, a b c d e f g h i j k l)
    };
    ($start:expr, |$sum:ident| $next:expr, $($chain:ident)+) => {{
        $(let mut $chain = $start;)+
        for _ in 0..2 * STEPS {
            $($chain = { let $sum = $chain; $next };)+
        }
        [$($chain),+]
    }};
}

/// Steps of the register loop per task: about a millisecond.
const STEPS: usize = 100_000;

/// GFLOP/s of independent multiply-adds on registers, all threads, best of several rounds; the
/// instruction is the one that products with `word` panels use.
pub fn peak_gflops(pool: &Pool, isa: Isa, word: PanelWord) -> f64 {
    let mut best = f64::INFINITY;
    for _ in 0..30 {
        let start = Instant::now();
        pool.run(pool.threads(), &|_| {
            black_box(register_loop(isa, word));
        });
        best = best.min(start.elapsed().as_secs_f64());
    }
    (pool.threads() * STEPS * step_flops(isa, word)) as f64 / best * 1e-9
}

/// Floating-point operations of one step of [`register_loop`].
fn step_flops(isa: Isa, word: PanelWord) -> usize {
    let lanes = match isa {
        Isa::Portable => 4,
        Isa::Avx2 => 8,
        // Four products of 16 rows by 16 columns by 32 values of k.
        Isa::AmxBf16 if word == PanelWord::Bf16Pair => return 4 * 2 * 16 * 16 * 32,
        Isa::Avx512 | Isa::Avx512Bf16 | Isa::AmxBf16 => 16,
    };
    24 * 2 * lanes * word.depth()
}

/// Bytes per second of one pass of reads over `bytes` of memory, all threads, best of several rounds.
pub fn read_bandwidth(pool: &Pool, bytes: usize) -> f64 {
    let words: Vec<u64> = (0..bytes as u64 / 8).collect();
    let tasks = 4 * pool.threads();
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let start = Instant::now();
        pool.run(tasks, &|task| {
            let part = &words[task * words.len() / tasks..(task + 1) * words.len() / tasks];
            black_box(part.iter().fold(0u64, |sum, word| sum ^ word));
        });
        best = best.min(start.elapsed().as_secs_f64());
    }
    (words.len() * 8) as f64 / best
}

/// Bytes per second of one pass that copies `bytes` of memory, read and written bytes counted, all threads, best of
/// several rounds.
pub fn copy_bandwidth(pool: &Pool, bytes: usize) -> f64 {
    let source: Vec<u64> = (0..bytes as u64 / 8).collect();
    let mut target = vec![1u64; source.len()];
    let tasks = 4 * pool.threads();
    let mut best = f64::INFINITY;
    for _ in 0..8 {
        let shared = SharedMut::new(&mut target);
        let start = Instant::now();
        pool.run(tasks, &|task| {
            let (from, to) = (task * source.len() / tasks, (task + 1) * source.len() / tasks);
            // SAFETY: the parts of different tasks do not overlap, and `target` outlives the loop.
            unsafe { shared.slice(from, to) }.copy_from_slice(&source[from..to]);
        });
        best = best.min(start.elapsed().as_secs_f64());
        black_box(&mut target);
    }
    (source.len() * 16) as f64 / best
}

/// The instruction that int8 dot products use on this machine, and how many GOP/s of it (a multiply-add counts two)
/// run from registers, all threads, best of several rounds. `None` where there is no such loop.
pub fn peak_int8_gops(pool: &Pool) -> Option<(&'static str, f64)> {
    let (name, lanes, body) = int8_loop()?;
    let mut best = f64::INFINITY;
    for _ in 0..30 {
        let start = Instant::now();
        pool.run(pool.threads(), &|_| {
            black_box(body());
        });
        best = best.min(start.elapsed().as_secs_f64());
    }
    Some((name, (pool.threads() * STEPS * 24 * 2 * lanes) as f64 / best * 1e-9))
}

type Int8Loop = (&'static str, usize, fn() -> i32);

#[cfg(target_arch = "x86_64")]
fn int8_loop() -> Option<Int8Loop> {
    // SAFETY: only chosen below where its instruction was detected.
    let vnni: fn() -> i32 = || unsafe { loop_vnni() };
    // SAFETY: as above.
    let maddubs: fn() -> i32 = || unsafe { loop_maddubs() };
    if is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni") {
        return Some(("vpdpbusd zmm", 64, vnni));
    }
    is_x86_feature_detected!("avx2").then_some(("vpmaddubsw + vpmaddwd ymm", 32, maddubs))
}

#[cfg(not(target_arch = "x86_64"))]
fn int8_loop() -> Option<Int8Loop> {
    None
}

fn register_loop(isa: Isa, word: PanelWord) -> f32 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: an `Isa` other than `Portable` is only made where it was detected.
    unsafe {
        match (isa, word) {
            (Isa::Avx2, _) => return loop_avx2(),
            (Isa::AmxBf16, PanelWord::Bf16Pair) => return loop_tiles(),
            (Isa::Avx512Bf16, PanelWord::Bf16Pair) => return loop_bf16(),
            (Isa::Avx512 | Isa::Avx512Bf16 | Isa::AmxBf16, _) => return loop_avx512(),
            (Isa::Portable, _) => {}
        }
    }
    let _ = (isa, word);
    let mut sums = [1.0f32; 96];
    for _ in 0..STEPS {
        for sum in black_box(&mut sums) {
            *sum = *sum * 0.999 + 0.001;
        }
    }
    sums.iter().sum()
}

/// 24 chains: three rounds of eight keep the 16 registers of AVX2 sufficient.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn loop_avx2() -> f32 {
    let factor = _mm256_set1_ps(black_box(0.999));
    let mut sums = [_mm256_set1_ps(1.0); 12];
    for _ in 0..2 * STEPS {
        for sum in &mut sums {
            *sum = _mm256_fmadd_ps(*sum, factor, factor);
        }
    }
    sums.iter().map(|sum| _mm256_cvtss_f32(*sum)).sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn loop_avx512() -> f32 {
    let factor = _mm512_set1_ps(black_box(0.999));
    let sums = chains!(_mm512_set1_ps(1.0), |sum| _mm512_fmadd_ps(sum, factor, factor));
    sums.iter().map(|sum| _mm512_cvtss_f32(*sum)).sum()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bf16")]
fn loop_bf16() -> f32 {
    // SAFETY: a rename of the register; every bit pattern is a pair of bf16.
    let factor: __m512bh = unsafe { std::mem::transmute(_mm512_set1_epi32(black_box(0x3f80_3f80))) };
    let sums = chains!(_mm512_set1_ps(1.0), |sum| _mm512_dpbf16_ps(sum, factor, factor));
    sums.iter().map(|sum| _mm512_cvtss_f32(*sum)).sum()
}

/// Four products a step, as in the micro-kernel, of tiles that stay in their registers.
///
/// # Safety
/// Tile registers may be used.
#[cfg(target_arch = "x86_64")]
unsafe fn loop_tiles() -> f32 {
    // SAFETY: by the caller; the registers are shaped, and compiled code uses none of them.
    unsafe {
        let _tiles = amx::Tiles::shape();
        std::arch::asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "tilezero tmm4", "tilezero tmm5", "tilezero tmm6", "tilezero tmm7",
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {steps}", "jnz 2b",
            steps = inout(reg) STEPS => _, options(nostack, nomem)
        );
    }
    0.0
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn loop_vnni() -> i32 {
    let factor = _mm512_set1_epi32(black_box(0x0101_0101));
    let sums = chains!(_mm512_set1_epi32(1), |sum| _mm512_dpbusd_epi32(sum, factor, factor));
    sums.iter().map(|sum| _mm512_cvtsi512_si32(*sum)).fold(0, i32::wrapping_add)
}

/// Products of bytes in pairs, summed to 32 bits: three instructions per 32 multiply-adds.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn loop_maddubs() -> i32 {
    let ones = _mm256_set1_epi16(black_box(1));
    let mut sums = [_mm256_set1_epi32(0x0101_0101); 12];
    for _ in 0..2 * STEPS {
        for sum in &mut sums {
            let pairs = _mm256_maddubs_epi16(*sum, ones);
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
        }
    }
    sums.iter().map(|sum| _mm256_cvtsi256_si32(*sum)).fold(0, i32::wrapping_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_is_a_finite_positive_rate() {
        let pool = Pool::new(1);
        for isa in Isa::available() {
            assert!(peak_gflops(&pool, isa, PanelWord::F32).is_normal(), "{}", isa.name());
            if isa.has_native_bf16() {
                assert!(peak_gflops(&pool, isa, PanelWord::Bf16Pair).is_normal(), "{}", isa.name());
            }
        }
        assert!(read_bandwidth(&pool, 1 << 22).is_normal());
        assert!(copy_bandwidth(&pool, 1 << 22).is_normal());
        if let Some((name, rate)) = peak_int8_gops(&pool) {
            assert!(!name.is_empty() && rate.is_normal());
        }
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn the_int8_loop_adds_what_it_claims() {
        if !(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")) {
            println!("skipped: this machine lacks AVX-512 VNNI");
            return;
        }
        // Each step adds four products 1·1 to a lane that began at 1; the first lanes of 12 chains are summed.
        // SAFETY: detected above.
        assert_eq!(unsafe { loop_vnni() }, 12 * (1 + 8 * STEPS as i32));
    }
}
