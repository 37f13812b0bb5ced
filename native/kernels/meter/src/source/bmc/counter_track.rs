//! An energy counter of a controller: it moves seldom, in steps, and its moves are what is known exactly.

use std::time::Duration;

use super::reading_clock::ReadingClock;
use crate::source::RawReading;

/// A counter that stands still this long, and twice its longest rest so far, has an interval without energy.
const HOLD_NS: u64 = 10_000_000_000;
const LONGEST_HOLD_NS: u64 = 120_000_000_000;

/// See the module's description.
#[derive(Debug)]
pub struct CounterTrack {
    clock: ReadingClock,
    raw: Option<u128>,
    polled_ns: u64,
    moved_ns: u64,
    reported_ns: u64,
    longest_rest_ns: u64,
    period_ns: u64,
}

impl CounterTrack {
    /// For a counter that is read every `period`.
    pub fn new(period: Duration) -> Self {
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX / 8);
        Self {
            clock: ReadingClock::default(),
            raw: None,
            polled_ns: 0,
            moved_ns: 0,
            reported_ns: 0,
            longest_rest_ns: 0,
            period_ns,
        }
    }

    /// Take in a value that arrived at `arrived_ns`, stamped by the controller or not. `is_last`: no other will follow.
    /// `None`: it says nothing yet.
    pub fn take(&mut self, raw: u128, stamp_ns: Option<i128>, arrived_ns: u64, is_last: bool) -> Option<RawReading> {
        let before = self.raw.replace(raw);
        let polled_ns = std::mem::replace(&mut self.polled_ns, arrived_ns);
        let moved = before != Some(raw);
        if !moved {
            let hold = (2 * self.longest_rest_ns).clamp(HOLD_NS, LONGEST_HOLD_NS);
            if !is_last && arrived_ns.saturating_sub(self.reported_ns) < hold {
                return None;
            }
        } else if before.is_some() && self.moved_ns > 0 {
            self.longest_rest_ns = self.longest_rest_ns.max(arrived_ns.saturating_sub(self.moved_ns));
        }
        if moved {
            self.moved_ns = arrived_ns;
        }
        // Without a time of its own a move lies between two polls: the middle is off by half of their distance at most.
        let arrived = match (stamp_ns, before) {
            (None, Some(_)) if moved => polled_ns.midpoint(arrived_ns),
            _ => arrived_ns,
        };
        let stamp = stamp_ns.filter(|_| moved);
        let at = self.clock.place(stamp, arrived, self.period_ns)?;
        self.reported_ns = at;
        Some(RawReading::new(at, raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn moves_are_readings_and_rests_are_not() {
        let mut track = CounterTrack::new(Duration::from_secs(1));
        let found: Vec<RawReading> =
            (1..=30).filter_map(|at| track.take(u128::from(at / 6), None, at * SECOND, false)).collect();
        let raws: Vec<u128> = found.iter().map(|reading| reading.raw).collect();
        assert_eq!(raws, [0, 1, 2, 3, 4, 5]);
        assert_eq!(found[1].monotonic_ns, 5 * SECOND + SECOND / 2, "between the polls at 5 and 6 s");
        // It stands still: nothing for twice its longest rest, then an interval without energy; the end is one too.
        let quiet: Vec<u64> =
            (31..=44).filter_map(|at| track.take(5, None, at * SECOND, false)).map(|one| one.monotonic_ns).collect();
        assert_eq!(quiet, [42 * SECOND]);
        assert_eq!(track.take(5, None, 45 * SECOND, true).unwrap().monotonic_ns, 45 * SECOND);
    }
}
