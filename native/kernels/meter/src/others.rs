//! CPU time of everyone else, from readings of the machine's busy time that are rarer than samples.
//!
//! Where a sample lies between two readings, the time they differ by is spread evenly over it: nothing is guessed beyond
//! an interval whose ends are known. Only samples that must be answered before the next reading are carried on at the last
//! rate, and what that gave too much or too little is made up within the next interval.

use crate::usage::UsageReading;

/// See the module's description.
#[derive(Debug, Default)]
pub struct Others {
    /// The machine's busy time less this process's at the first reading.
    base: Option<i128>,
    /// When it was last read, and the time of the others by then.
    read: Option<(u64, u64)>,
    per_second_ns: u64,
    /// The last sample that has got its number.
    given: Option<(u64, u64)>,
}

impl Others {
    /// Give each reading its number. They come in order of time; a call continues the one before.
    pub fn complete(&mut self, readings: &mut [UsageReading]) {
        let mut start = 0;
        for end in 0..readings.len() {
            let UsageReading { usage, busy_ns: Some(busy_ns) } = readings[end] else { continue };
            let beyond = i128::from(busy_ns) - i128::from(usage.process_cpu_ns);
            let base = *self.base.get_or_insert(beyond);
            // Ticks of 10 ms against a clock of nanoseconds: a little may be given back by the next reading.
            let target = u64::try_from(beyond - base).unwrap_or(0);
            let now = usage.monotonic_ns;
            if let Some((read_ns, before)) = self.read {
                let elapsed = u128::from(now.saturating_sub(read_ns).max(1));
                let grown = u128::from(target.saturating_sub(before));
                self.per_second_ns = (grown * 1_000_000_000 / elapsed) as u64;
            }
            self.read = Some((now, target));
            self.spread(&mut readings[start..=end], target);
            start = end + 1;
        }
        self.carry_on(&mut readings[start..]);
    }

    /// Evenly from the last sample to the last of these, which gets `target`, or what was given before where that is more.
    fn spread(&mut self, readings: &mut [UsageReading], target: u64) {
        let Some(last) = readings.last().map(|reading| reading.usage.monotonic_ns) else { return };
        let (from_ns, from) = self.given.unwrap_or((last, 0));
        let (length, rest) = (u128::from(last.saturating_sub(from_ns).max(1)), u128::from(target.saturating_sub(from)));
        for reading in readings.iter_mut() {
            let elapsed = u128::from(reading.usage.monotonic_ns.saturating_sub(from_ns));
            reading.usage.others_cpu_ns = from + (rest * elapsed / length) as u64;
        }
        self.given = readings.last().map(|reading| (last, reading.usage.others_cpu_ns));
    }

    fn carry_on(&mut self, readings: &mut [UsageReading]) {
        for reading in readings {
            let (from_ns, from) = self.given.unwrap_or((reading.usage.monotonic_ns, 0));
            let elapsed = u128::from(reading.usage.monotonic_ns.saturating_sub(from_ns));
            reading.usage.others_cpu_ns = from + (u128::from(self.per_second_ns) * elapsed / 1_000_000_000) as u64;
            self.given = Some((reading.usage.monotonic_ns, reading.usage.others_cpu_ns));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::usage::MachineUsage;

    const MS: u64 = 1_000_000;

    fn at(ms: u64, process_ms: u64, busy_ms: Option<u64>) -> UsageReading {
        let usage = MachineUsage { monotonic_ns: ms * MS, process_cpu_ns: process_ms * MS, ..MachineUsage::default() };
        UsageReading { usage, busy_ns: busy_ms.map(|busy| busy * MS) }
    }

    fn others(readings: &[UsageReading]) -> Vec<u64> {
        readings.iter().map(|reading| reading.usage.others_cpu_ns / MS).collect()
    }

    #[test]
    fn time_between_two_readings_is_spread_and_exact_at_their_ends() {
        let mut known = Others::default();
        let mut first = [at(0, 0, Some(1000))];
        known.complete(&mut first);
        assert_eq!(others(&first), [0]);
        let mut batch = [at(100, 50, None), at(200, 60, None), at(400, 100, Some(1300))];
        known.complete(&mut batch);
        assert_eq!(others(&batch), [50, 100, 200]);
    }

    #[test]
    fn what_was_given_too_early_is_made_up_within_the_next_interval() {
        let mut known = Others::default();
        let mut batch = [at(0, 0, Some(0)), at(1000, 0, Some(1000)), at(1100, 0, None)];
        known.complete(&mut batch);
        assert_eq!(others(&batch), [0, 1000, 1100]);
        // The others stopped right after the reading: no more is given until the sum is right again.
        let mut batch = [at(1500, 0, None), at(2000, 0, Some(1050)), at(2500, 0, Some(1150)), at(3000, 0, Some(1250))];
        known.complete(&mut batch);
        assert_eq!(others(&batch), [1100, 1100, 1150, 1250]);
    }

    #[test]
    fn without_readings_nobody_else_is_seen() {
        let mut known = Others::default();
        let mut batch = [at(0, 0, None), at(100, 90, None)];
        known.complete(&mut batch);
        assert_eq!(others(&batch), [0, 0]);
    }
}
