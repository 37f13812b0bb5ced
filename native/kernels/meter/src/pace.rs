//! How often a counter moves, and so what it means that it has not.
//!
//! A counter that moves every 30 ms and is read every 10 ms stands still at two readings of three. That is not two intervals
//! without energy and one with three times as much: the readings in between say nothing, and what it leaps by belongs to the
//! whole time since it leapt last. Taken for zeros, they would teach the regression that a phase which ends at each leap
//! draws no power, and that whoever comes next draws all of it.

/// A counter that stands still for longer than this draws nothing, or is gone: then the silence is an interval of its own.
/// No counter known updates more rarely.
pub const HOLD_NS: u64 = 500_000_000;

/// Gaps between moves that are remembered.
const GAPS: usize = 8;

/// Gaps to be seen before they are relied on.
const GAPS_NEEDED: usize = 3;

/// See the module's description.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    moved_ns: Option<u64>,
    gaps: [u64; GAPS],
    count: usize,
}

impl Pace {
    /// The counter moved.
    pub fn take_move(&mut self, monotonic_ns: u64) {
        if let Some(before) = self.moved_ns.replace(monotonic_ns) {
            self.gaps[self.count % GAPS] = monotonic_ns.saturating_sub(before);
            self.count += 1;
        }
    }

    /// What passed before is not known: begin again.
    pub fn forget(&mut self) {
        *self = Self::default();
    }

    /// For how long a counter that stands still says nothing: twice its longest rest of late.
    pub fn hold_ns(&self) -> u64 {
        let known = &self.gaps[..self.count.min(GAPS)];
        if known.len() < GAPS_NEEDED {
            return HOLD_NS;
        }
        known.iter().max().map_or(HOLD_NS, |longest| longest.saturating_mul(2).min(HOLD_NS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rest_is_judged_by_the_rests_before() {
        let mut pace = Pace::default();
        assert_eq!(pace.hold_ns(), HOLD_NS);
        for at in [0, 30, 55, 90] {
            pace.take_move(at * 1_000_000);
        }
        assert_eq!(pace.hold_ns(), 70_000_000);
        pace.take_move(5_000_000_000);
        assert_eq!(pace.hold_ns(), HOLD_NS);
        (1..=8).for_each(|step| pace.take_move(5_000_000_000 + step * 1_000_000));
        assert_eq!(pace.hold_ns(), 2_000_000);
        pace.forget();
        assert_eq!(pace.hold_ns(), HOLD_NS);
    }
}
