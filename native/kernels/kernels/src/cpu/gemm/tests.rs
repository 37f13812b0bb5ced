//! Parity of the product with a plain f64 loop over odd sizes, every format, orientation and
//! instruction set.
//!
//! Tolerances. float32: a sum of K products rounded at each step errs by at most K·eps·Σ|a||b|
//! (Higham, eq. 3.5); bfloat16: each input is rounded by at most 2^-9 relative, each product hence by
//! 2^-8, plus the same f32 sum.

use crate::cpu::gemm::buffer::WordBuffer;
use crate::cpu::gemm::kernel::RowLayout;
use crate::cpu::gemm::{ComputeDtype, Elements, Matrix, MicroKernel, Operand, Results, Start, Target, Term};
use crate::cpu::gemm::{pack_rows, packed_words, product};
use crate::cpu::isa::Isa;
use crate::cpu::pool::Pool;
use crate::cpu::quant4::{Quant4, Quant4Kind, Scales};
use half::{bf16, f16};

/// SplitMix64: a simple seeded generator for test data.
pub struct TestRandom(pub u64);

impl TestRandom {
    /// Next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in [-1, 1).
    pub fn value(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// `count` uniform values.
    pub fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }
}

/// Owned elements of a test matrix.
pub enum Owned {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
    F16(Vec<f16>),
    Quant4(Quant4),
}

impl Owned {
    pub fn formats(random: &mut TestRandom, count: usize) -> Vec<Owned> {
        let values = random.values(count);
        let codes: Vec<u8> = (0..count.div_ceil(2)).map(|_| random.bits() as u8).collect();
        let plain = Scales::Plain((0..count.div_ceil(32)).map(|_| random.value().abs()).collect());
        let nested = Scales::Nested {
            codes: (0..count.div_ceil(64)).map(|_| random.bits() as u8).collect(),
            absmax: (0..count.div_ceil(64 * 256)).map(|_| random.value().abs()).collect(),
            offset: 0.4,
            map: Box::new(crate::cpu::quant4_map::dynamic_map(true)),
            block: 256,
        };
        vec![
            Owned::Bf16(values.iter().map(|v| bf16::from_f32(*v)).collect()),
            Owned::F16(values.iter().map(|v| f16::from_f32(*v)).collect()),
            Owned::F32(values),
            Owned::Quant4(Quant4 {
                kind: Quant4Kind::Fp4,
                elements: count,
                block: 32,
                codes: codes.clone().into(),
                scales: plain,
            }),
            Owned::Quant4(Quant4 {
                kind: Quant4Kind::Nf4,
                elements: count,
                block: 64,
                codes: codes.into(),
                scales: nested,
            }),
        ]
    }

    pub fn elements(&self) -> Elements<'_> {
        match self {
            Owned::F32(values) => Elements::F32(values),
            Owned::Bf16(values) => Elements::Bf16(values),
            Owned::F16(values) => Elements::F16(values),
            Owned::Quant4(weight) => Elements::Quant4(weight.view()),
        }
    }

    pub fn value(&self, index: usize) -> f64 {
        match self {
            Owned::F32(values) => f64::from(values[index]),
            Owned::Bf16(values) => values[index].to_f64(),
            Owned::F16(values) => values[index].to_f64(),
            Owned::Quant4(weight) => f64::from(weight.view().value(index)),
        }
    }
}

fn round(value: f64, compute: ComputeDtype) -> f64 {
    match compute {
        ComputeDtype::F32 => value,
        ComputeDtype::Bf16 => bf16::from_f32(value as f32).to_f64(),
    }
}

/// Runs one product for one orientation pair and compares every element.
fn check(
    isa: Isa,
    compute: ComputeDtype,
    m: usize,
    n: usize,
    k: usize,
    left_rows: bool,
    right: &Owned,
    right_rows: bool,
) {
    let mut random = TestRandom((m * 7919 + n * 104_729 + k) as u64);
    let pool = Pool::global();
    let kernel = MicroKernel::select(isa, compute);
    let left = random.values(m * k);
    let left_operand =
        if left_rows { Operand::rows(Matrix::f32(&left, m, k)) } else { Operand::columns(Matrix::f32(&left, k, m)) };
    let right_operand = if right_rows {
        Operand::rows(Matrix::new(right.elements(), n, k))
    } else {
        Operand::columns(Matrix::new(right.elements(), k, n))
    };
    let before = random.values(m * n);
    let bias = random.values(n);
    let starts = [("overwrite", Start::Overwrite), ("accumulate", Start::Accumulate), ("bias", Start::Bias(&bias))];
    // All of a small C; of a large one the corners and what lies on a grid.
    let grid = |extent: usize| move |index: usize| extent < 128 || index.is_multiple_of(53) || index + 1 == extent;
    let (mut buffer, mut aligned) = (WordBuffer::new(), WordBuffer::new());
    for (alpha, (name, start)) in [0.75f32, 1.0].into_iter().flat_map(|alpha| starts.map(|start| (alpha, start))) {
        let words = buffer.words(packed_words(&kernel, m, k));
        let rows = pack_rows(&kernel, pool, &left_operand, alpha, words);
        let terms = [Term { rows: &rows, columns: right_operand }];
        let c = aligned.floats(m * n);
        c.copy_from_slice(&before);
        product(&kernel, pool, &terms, start, &Target::new(c, m, n));
        for i in (0..m).filter(|row| grid(m)(*row)) {
            for j in (0..n).filter(|column| grid(n)(*column)) {
                let (mut sum, mut size) = (0.0, 0.0);
                for p in 0..k {
                    let a = f64::from(if left_rows { left[i * k + p] } else { left[p * m + i] });
                    let b = if right_rows { right.value(j * k + p) } else { right.value(p * n + j) };
                    // The reference rounds inputs as the kernel does, so only the f32 sum differs.
                    let term = round(a, compute) * round(b, compute);
                    sum += term;
                    size += term.abs();
                }
                let first = match name {
                    "overwrite" => 0.0,
                    "accumulate" => f64::from(before[i * n + j]),
                    _ => f64::from(bias[j]),
                };
                let expected = first + f64::from(alpha) * sum;
                let bound = (k + 4) as f64 * f64::from(f32::EPSILON) * (size + first.abs()) + 1e-30;
                let found = f64::from(c[i * n + j]);
                assert!(
                    (found - expected).abs() <= bound,
                    "{} {compute:?} {name} alpha {alpha} m{m} n{n} k{k} left {left_rows} right {right_rows} at ({i}, {j}): \
                     {found} and not {expected} ± {bound}",
                    kernel.name
                );
            }
        }
    }
}

#[test]
fn product_equals_the_plain_loop_for_every_format_and_orientation() {
    let mut random = TestRandom(1);
    for isa in Isa::available() {
        for compute in ComputeDtype::ALL {
            for (m, n, k) in [(1, 1, 1), (3, 5, 7), (14, 32, 64), (15, 33, 65), (29, 70, 129), (41, 17, 10)] {
                for right in Owned::formats(&mut random, n * k) {
                    for (left_rows, right_rows) in [(true, true), (true, false), (false, true), (false, false)] {
                        check(isa, compute, m, n, k, left_rows, &right, right_rows);
                    }
                }
            }
        }
    }
}

#[test]
fn product_spans_several_blocks_of_depth_rows_and_slabs() {
    let mut random = TestRandom(2);
    for isa in Isa::available() {
        for compute in ComputeDtype::ALL {
            for (m, n, k) in [(33, 600, 1030), (300, 9, 777), (5, 40, 3001)] {
                let right = Owned::F32(random.values(n * k));
                check(isa, compute, m, n, k, true, &right, true);
                check(isa, compute, m, n, k, false, &right, false);
            }
        }
    }
}

#[test]
fn large_products_equal_the_plain_loop_past_the_caches_and_over_several_blocks() {
    let mut random = TestRandom(4);
    for isa in Isa::available() {
        // C is beyond a MiB, its last row and column panels are not whole; the second K has several blocks everywhere.
        for (m, n, k) in [(520, 528, 70), (500, 560, 2100)] {
            let right = Owned::Bf16(random.values(n * k).into_iter().map(bf16::from_f32).collect());
            check(isa, ComputeDtype::Bf16, m, n, k, true, &right, true);
            check(isa, ComputeDtype::Bf16, m, n, k, false, &right, false);
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let mut random = TestRandom(3);
    let rank = 16;
    // In the last one, some numbers of threads leave a task more tiles than may wait beside C; it takes long elsewhere.
    for (m, n, k, tiles_only) in [(37, 200, 900, false), (300, 150, 2300, false), (2100, 250, 1100, true)] {
        let (left, right) = (random.values(m * k), random.values(n * k));
        let (low, high) = (random.values(m * rank), random.values(n * rank));
        let (before, bias) = (random.values(m * n), random.values(n));
        for (isa, compute) in
            Isa::available().into_iter().flat_map(|isa| ComputeDtype::ALL.map(|compute| (isa, compute)))
        {
            let kernel = MicroKernel::select(isa, compute);
            if tiles_only && kernel.layout != RowLayout::Tiles {
                continue;
            }
            let run = |threads: usize, start: Start<'_>, scale: f32| {
                let pool = Pool::new(threads);
                let (mut buffer, mut other) = (WordBuffer::new(), WordBuffer::new());
                let words = buffer.words(packed_words(&kernel, m, k));
                let rows = pack_rows(&kernel, &pool, &Operand::rows(Matrix::f32(&left, m, k)), 1.0, words);
                let words = other.words(packed_words(&kernel, m, rank));
                let branch = pack_rows(&kernel, &pool, &Operand::rows(Matrix::f32(&low, m, rank)), scale, words);
                let terms = [
                    Term { rows: &rows, columns: Operand::rows(Matrix::f32(&right, n, k)) },
                    Term { rows: &branch, columns: Operand::rows(Matrix::f32(&high, n, rank)) },
                ];
                let mut c = before.clone();
                product(&kernel, &pool, &terms, start, &Target::new(&mut c, m, n));
                c.iter().map(|v| v.to_bits()).collect::<Vec<_>>()
            };
            for (start, scale) in [(Start::Overwrite, 2.0), (Start::Accumulate, 1.0), (Start::Bias(&bias), 0.7)] {
                let one = run(1, start, scale);
                assert!(
                    one == run(2, start, scale) && one == run(5, start, scale),
                    "{} k{k} scale {scale}",
                    kernel.name
                );
            }
        }
    }
}

#[test]
fn nan_and_infinity_reach_their_row_and_column_only() {
    let (m, n, k) = (17, 35, 70);
    for isa in Isa::available() {
        for compute in ComputeDtype::ALL {
            let kernel = MicroKernel::select(isa, compute);
            let mut left = vec![1.0f32; m * k];
            let mut right = vec![1.0f32; n * k];
            left[3 * k + 69] = f32::NAN;
            right[33 * k + 5] = f32::INFINITY;
            let mut buffer = WordBuffer::new();
            let words = buffer.words(packed_words(&kernel, m, k));
            let rows = pack_rows(&kernel, Pool::global(), &Operand::rows(Matrix::f32(&left, m, k)), 1.0, words);
            let columns = Operand::rows(Matrix::f32(&right, n, k));
            // Overwriting must not read what was there.
            let mut c = vec![f32::NAN; m * n];
            let terms = [Term { rows: &rows, columns }];
            product(&kernel, Pool::global(), &terms, Start::Overwrite, &Target::new(&mut c, m, n));
            for i in 0..m {
                for j in 0..n {
                    let found = c[i * n + j];
                    match (i == 3, j == 33) {
                        (true, _) => assert!(found.is_nan()),
                        (false, true) => assert_eq!(found, f32::INFINITY),
                        (false, false) => assert_eq!(found, k as f32),
                    }
                }
            }
        }
    }
}

#[test]
fn a_rounding_target_holds_the_rounded_sums() {
    let Some(isa) = Isa::available().into_iter().find(|isa| *isa == Isa::AmxBf16) else {
        eprintln!("skipped: this machine has no tile registers");
        return;
    };
    let kernel = MicroKernel::select(isa, ComputeDtype::Bf16);
    let mut random = TestRandom(23);
    // Deep products of more row panels than may wait; last panels that are not whole; nothing to add; results that pass
    // the caches.
    for (m, n, k) in [(9, 3, 70), (33, 40, 1024), (700, 300, 2500), (40, 31, 0), (1030, 512, 96)] {
        let (left, right, bias) = (random.values(m * k), random.values(n * k), random.values(n));
        let mut buffer = WordBuffer::new();
        let words = buffer.words(packed_words(&kernel, m, k));
        let rows = pack_rows(&kernel, Pool::global(), &Operand::rows(Matrix::f32(&left, m, k)), 1.0, words);
        let terms = [Term { rows: &rows, columns: Operand::rows(Matrix::f32(&right, n, k)) }];
        for start in [Start::Overwrite, Start::Bias(&bias)] {
            let mut sums = vec![f32::NAN; m * n];
            product(&kernel, Pool::global(), &terms, start, &Target::new(&mut sums, m, n));
            let mut memory = WordBuffer::new();
            let words = memory.words((m * n).div_ceil(2) + 1);
            // SAFETY: a word holds two bf16, and every bit pattern is one.
            let stored = unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast::<bf16>(), m * n + 1) };
            stored.fill(bf16::NAN);
            let target = Target::of(Results::Bf16(&mut stored[..m * n]), m, n);
            product(&kernel, Pool::global(), &terms, start, &target);
            for (found, sum) in stored.iter().zip(&sums) {
                assert_eq!(found.to_bits(), bf16::from_f32(*sum).to_bits(), "{m}x{n}x{k}");
            }
            assert!(stored[m * n].is_nan(), "one past the end");
        }
    }
}

#[test]
fn empty_extents_are_fine() {
    let kernel = MicroKernel::select(Isa::Portable, ComputeDtype::F32);
    for (m, n, k) in [(0, 4, 4), (4, 0, 4), (4, 4, 0)] {
        let (left, right) = (vec![1.0f32; m * k], vec![1.0f32; n * k]);
        let mut buffer = WordBuffer::new();
        let words = buffer.words(packed_words(&kernel, m, k));
        let rows = pack_rows(&kernel, Pool::global(), &Operand::rows(Matrix::f32(&left, m, k)), 1.0, words);
        let columns = Operand::rows(Matrix::f32(&right, n, k));
        let mut c = vec![9.0; m * n];
        let terms = [Term { rows: &rows, columns }];
        product(&kernel, Pool::global(), &terms, Start::Overwrite, &Target::new(&mut c, m, n));
        assert!(c.iter().all(|v| *v == 0.0));
    }
}
