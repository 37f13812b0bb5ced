//! Simulated power, counters and clocks: ground truth for tests and benchmarks. Nothing here reads a machine.

pub mod conservation;
pub mod replay;
pub mod segment;
pub mod trace;

/// A small deterministic generator (an LCG with its high bits): streams depend on the seed alone.
#[derive(Debug, Clone)]
pub struct Numbers(u64);

impl Numbers {
    /// A stream.
    pub fn new(seed: u64) -> Self {
        let mut numbers = Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66);
        (0..4).for_each(|_| {
            numbers.below(2);
        });
        numbers
    }

    /// From 0 up to and without `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }

    /// From 0 up to 1.
    pub fn unit(&mut self) -> f64 {
        self.below(1 << 31) as f64 / (1_u64 << 31) as f64
    }

    /// Standard normal, as the sum of twelve uniform numbers: tails end at 6.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}
