//! A hardware counter that wraps: deltas that are exact, or said to be ambiguous, and never negative.

/// What one new raw value means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CounterStep {
    /// The first value after opening or after a reset: a starting point, no energy.
    Start,
    /// Counts since the last value.
    Advance {
        /// Smallest advance that explains the two values.
        delta: u128,
        /// How many more whole turns the elapsed time leaves possible; 0 when the delta is certain.
        possible_extra_turns: u128,
    },
    /// The counter went back where it cannot wrap: driver reload or another device. Energy in between is unknown.
    Reset,
    /// The advance implies more power than the hardware can draw; the counts are kept but not credited.
    Implausible {
        /// The advance that was refused.
        delta: u128,
    },
}

/// Wrap state of one counter. Exactly one thread owns it, so that no reader can miss a turn another one saw.
#[derive(Debug, Clone)]
pub struct WrappingCounter {
    /// Values run from 0 to `modulus - 1`; `None` for a counter that never wraps or whose range is unknown.
    pub modulus: Option<u128>,
    /// Largest number of counts per second the hardware can produce, where known.
    pub maximum_counts_per_second: Option<u128>,
    last: Option<(u64, u128)>,
    moved_ns: u64,
}

impl WrappingCounter {
    /// A counter that has not been read yet.
    pub fn new(modulus: Option<u128>, maximum_counts_per_second: Option<u128>) -> Self {
        Self { modulus, maximum_counts_per_second, last: None, moved_ns: 0 }
    }

    /// Forget the last value: the next one is a starting point.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// Take a new raw value read at `monotonic_ns`. A failed read must simply not call this.
    pub fn step(&mut self, monotonic_ns: u64, raw: u128) -> CounterStep {
        let Some((last_ns, last_raw)) = self.last.replace((monotonic_ns, raw)) else {
            self.moved_ns = monotonic_ns;
            return CounterStep::Start;
        };
        let elapsed_ns = u128::from(monotonic_ns.saturating_sub(last_ns));
        let delta = match self.modulus {
            _ if raw >= last_raw => raw - last_raw,
            // Counts past the modulus would be a wrong modulus, not a wrap.
            Some(modulus) if last_raw < modulus => raw + modulus - last_raw,
            _ => {
                self.moved_ns = monotonic_ns;
                return CounterStep::Reset;
            }
        };
        // What a counter shows at once was drawn since it moved last, not since it was read last.
        let since_move_ns = u128::from(monotonic_ns.saturating_sub(self.moved_ns));
        if delta > 0 {
            self.moved_ns = monotonic_ns;
        }
        let Some(rate) = self.maximum_counts_per_second else {
            return CounterStep::Advance { delta, possible_extra_turns: 0 };
        };
        let reachable = rate * elapsed_ns / 1_000_000_000;
        // A 50 % margin and 20 ms of reading jitter: update and read instants differ.
        let drawable = rate * since_move_ns / 1_000_000_000;
        let plausible = drawable + drawable / 2 + rate / 50;
        if delta > plausible {
            return CounterStep::Implausible { delta };
        }
        let possible_extra_turns = match self.modulus {
            Some(modulus) if reachable > delta => (reachable - delta) / modulus,
            _ => 0,
        };
        CounterStep::Advance { delta, possible_extra_turns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn advance(delta: u128) -> CounterStep {
        CounterStep::Advance { delta, possible_extra_turns: 0 }
    }

    #[test]
    fn wraps_by_the_modulus_not_by_the_maximum() {
        let modulus = 4_294_967_296_u128 * 61_035;
        let mut counter = WrappingCounter::new(Some(modulus), None);
        assert_eq!(counter.step(0, modulus - 61_035), CounterStep::Start);
        assert_eq!(counter.step(1, 0), advance(61_035));
    }

    #[test]
    fn a_decrease_without_a_modulus_is_a_reset() {
        let mut counter = WrappingCounter::new(None, None);
        counter.step(0, 100);
        assert_eq!(counter.step(1, 99), CounterStep::Reset);
        assert_eq!(counter.step(2, 149), advance(50));
    }

    #[test]
    fn a_long_silence_leaves_turns_open() {
        // 100 counts per turn, at most 50 counts per second, silent for 10 s: 500 counts could have passed.
        let mut counter = WrappingCounter::new(Some(100), Some(50));
        counter.step(0, 10);
        assert_eq!(counter.step(10_000_000_000, 40), CounterStep::Advance { delta: 30, possible_extra_turns: 4 });
    }

    #[test]
    fn a_slow_counter_is_judged_by_the_time_since_its_last_move() {
        let mut counter = WrappingCounter::new(None, Some(100));
        counter.step(0, 0);
        for tenth in 1..10 {
            assert_eq!(counter.step(tenth * 100_000_000, 0), advance(0));
        }
        assert_eq!(counter.step(1_000_000_000, 90), advance(90));
        assert_eq!(counter.step(1_010_000_000, 180), CounterStep::Implausible { delta: 90 });
    }

    #[test]
    fn more_power_than_the_hardware_has_is_quarantined() {
        let mut counter = WrappingCounter::new(Some(1_000_000), Some(100));
        counter.step(0, 0);
        assert_eq!(counter.step(1_000_000_000, 5_000), CounterStep::Implausible { delta: 5_000 });
    }
}
