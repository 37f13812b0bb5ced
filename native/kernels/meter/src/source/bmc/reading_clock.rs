//! The controller's clock on ours: it says how far apart two readings are, not what time it is.

/// A reading this much older than its period explains was stamped by a clock that has been set.
const SLACK_NS: i128 = 10_000_000_000;

/// Maps times of readings to the monotonic clock. An answer arrives after its reading, never before, so the smallest
/// distance seen between the two clocks is the best one known.
#[derive(Debug, Default)]
pub struct ReadingClock {
    offset_ns: Option<i128>,
    last_ns: u64,
}

impl ReadingClock {
    /// The monotonic time of a reading stamped `stamp_ns` that arrived at `arrived_ns`; later than the one before. `None`
    /// where it cannot be.
    pub fn place(&mut self, stamp_ns: Option<i128>, arrived_ns: u64, period_ns: u64) -> Option<u64> {
        let arrived = i128::from(arrived_ns);
        let at = match stamp_ns {
            None => arrived_ns,
            Some(stamp) => {
                let known = self.offset_ns.unwrap_or(i128::MAX);
                let was_set = stamp.saturating_add(known) < arrived - 3 * i128::from(period_ns) - SLACK_NS;
                let offset = if was_set { arrived - stamp } else { known.min(arrived - stamp) };
                self.offset_ns = Some(offset);
                u64::try_from(stamp + offset).unwrap_or(arrived_ns)
            }
        };
        // A better offset may place a reading before its predecessor: then the time of arrival is closer.
        let at = if at > self.last_ns { at } else { arrived_ns };
        (at > self.last_ns).then(|| {
            self.last_ns = at;
            at
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn distances_are_the_controllers_and_late_answers_do_not_matter() {
        let mut clock = ReadingClock::default();
        // Stamped each 5 s on a clock an hour ahead; answers come 0.1 to 3 s later.
        let stamp = |reading: u64| Some(i128::from(3600 * SECOND + reading * 5 * SECOND));
        let late = [SECOND / 10, 2 * SECOND, 3 * SECOND, SECOND / 2];
        let placed: Vec<u64> = (1..5)
            .map(|at: u64| clock.place(stamp(at), at * 5 * SECOND + late[at as usize - 1], 5 * SECOND).unwrap())
            .collect();
        assert!(placed.windows(2).all(|pair| pair[1] - pair[0] == 5 * SECOND), "{placed:?}");
        // Set back by an hour: the next reading is placed where it arrived.
        assert_eq!(clock.place(Some(0), 60 * SECOND, 5 * SECOND), Some(60 * SECOND));
        assert_eq!(clock.place(Some(i128::from(5 * SECOND)), 66 * SECOND, 5 * SECOND), Some(65 * SECOND));
        assert_eq!(clock.place(None, 65 * SECOND, 5 * SECOND), None, "no time twice");
    }
}
