//! Power readings into a cumulative count: the rung below a counter.

use super::RawReading;
use super::threaded::GAP_NS;
use crate::unit::EnergyUnit;

/// Counts of [`Integrator`]: half a milliwatt-nanosecond, so that trapezoids stay whole.
pub const UNIT: EnergyUnit = EnergyUnit { numerator: 1, denominator: 2000 };

/// Trapezoids between power readings. Power across a gap is not guessed: the count starts again behind it.
#[derive(Debug)]
pub struct Integrator {
    total: u128,
    last: Option<(u64, u64)>,
    gap_ns: u64,
}

impl Default for Integrator {
    fn default() -> Self {
        Self::with_gap(GAP_NS)
    }
}

impl Integrator {
    /// Readings further apart than `gap_ns` leave the power between them unknown.
    pub fn with_gap(gap_ns: u64) -> Self {
        Self { total: 0, last: None, gap_ns }
    }

    /// Take in a power; returns the count so far.
    pub fn take(&mut self, monotonic_ns: u64, milliwatts: u64) -> RawReading {
        let mut reading = RawReading::new(monotonic_ns, self.total);
        if let Some((last_ns, last_milliwatts)) = self.last {
            let elapsed = monotonic_ns.saturating_sub(last_ns);
            if elapsed > self.gap_ns {
                reading.restart = true;
            } else {
                self.total += u128::from(last_milliwatts + milliwatts) * u128::from(elapsed);
                reading.raw = self.total;
            }
        }
        self.last = Some((monotonic_ns, milliwatts));
        reading
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ramp_integrates_exactly_and_a_gap_is_not_bridged() {
        let mut integrator = Integrator::default();
        let power = |second: u64| 100_000 + 50_000 * second;
        let count = (0..=4).map(|half| integrator.take(half * 500_000_000, power(0) + 25_000 * half).raw).last();
        // 100 to 200 W in 2 s: 300 J.
        assert_eq!(UNIT.cumulative_nanojoules(count.unwrap()), 300_000_000_000);
        let after = integrator.take(60_000_000_000, 1_000_000);
        assert!(after.restart && after.raw == count.unwrap());
    }
}
