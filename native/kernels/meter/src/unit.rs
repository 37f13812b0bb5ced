//! Fixed-point energy: raw counts and the unit that turns them into nanojoules.

/// Nanojoules per raw count, as an exact ratio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnergyUnit {
    /// Numerator, nanojoules.
    pub numerator: u128,
    /// Denominator, counts.
    pub denominator: u128,
}

impl EnergyUnit {
    /// One count is one nanojoule.
    pub const NANOJOULE: Self = Self { numerator: 1, denominator: 1 };

    /// RAPL through perf: 2⁻³² J per count.
    pub const PERF_RAPL: Self = Self { numerator: 1_000_000_000, denominator: 1 << 32 };

    /// One count is 10⁻²¹ J: nanowatts times nanoseconds times 10⁻³, fine enough for models to lose nothing.
    pub const MODEL: Self = Self { numerator: 1, denominator: 1_000_000_000_000 };

    /// The cumulative rule: nJ(n) = ⌊count · unit⌋ of the *total*. An interval is a difference of two cumulative
    /// values, so a chain of intervals telescopes exactly and no rounding error grows.
    pub fn cumulative_nanojoules(self, total_count: u128) -> u128 {
        // Splitting the product keeps every intermediate far below 2¹²⁸ for any run length.
        let whole = total_count / self.denominator;
        let rest = total_count % self.denominator;
        whole * self.numerator + rest * self.numerator / self.denominator
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_telescope_exactly() {
        let unit = EnergyUnit::PERF_RAPL;
        let mut total = 0_u128;
        let mut sum = 0_u128;
        let mut previous = 0_u128;
        for step in 0..100_000_u128 {
            total += 1 + (step * 7919) % 1_000_003;
            let now = unit.cumulative_nanojoules(total);
            sum += now - previous;
            previous = now;
        }
        assert_eq!(sum, unit.cumulative_nanojoules(total));
        assert_eq!(sum, total * 1_000_000_000 / (1 << 32));
    }
}
