//! Power readings of a controller into a cumulative count.

use std::time::Duration;

use super::reading_clock::ReadingClock;
use crate::source::RawReading;
use crate::source::integrate::Integrator;
use crate::source::threaded::GAP_NS;

/// No server draws more; readings from here on are a sensor that is not there (65,535 is all bits set).
pub const LARGEST_WATTS: f64 = 65_535.0;

/// A stamp that stands still for longer than this, and five periods, is a sensor that has stopped.
const STUCK_NS: u64 = 10_000_000_000;

/// A power as the controller gave it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerReading {
    /// Watts.
    pub watts: f64,
    /// When it was measured, nanoseconds of the controller's clock.
    pub stamp_ns: Option<i128>,
}

/// See the module's description.
#[derive(Debug)]
pub struct PowerTrack {
    integrator: Integrator,
    clock: ReadingClock,
    last: Option<PowerReading>,
    fresh_ns: u64,
    period_ns: u64,
}

impl PowerTrack {
    /// For a sensor that is read, or measures, every `period`.
    pub fn new(period: Duration) -> Self {
        let period_ns = u64::try_from(period.as_nanos()).unwrap_or(u64::MAX / 8);
        Self {
            integrator: Integrator::with_gap(GAP_NS.max(3 * period_ns)),
            clock: ReadingClock::default(),
            last: None,
            fresh_ns: 0,
            period_ns,
        }
    }

    /// Take in an answer that arrived at `arrived_ns`. `None`: the reading was known already, which is no sample.
    ///
    /// # Errors
    /// A power no server has, or a sensor whose time stands still; as text.
    pub fn take(&mut self, reading: PowerReading, arrived_ns: u64) -> Result<Option<RawReading>, String> {
        check(reading.watts)?;
        if reading.stamp_ns.is_some() && self.last == Some(reading) {
            let silent = arrived_ns.saturating_sub(self.fresh_ns);
            if silent > STUCK_NS.max(5 * self.period_ns) {
                return Err(format!(
                    "the reading has had the same time for {:.0} s: its sensor has stopped",
                    silent as f64 / 1e9
                ));
            }
            return Ok(None);
        }
        let is_same_time = self.last.is_some_and(|last| last.stamp_ns == reading.stamp_ns);
        self.last = Some(reading);
        self.fresh_ns = arrived_ns;
        // Another value under the same time: the stamp is too coarse to place it.
        let stamp = reading.stamp_ns.filter(|_| !is_same_time);
        let at = self.clock.place(stamp, arrived_ns, self.period_ns);
        Ok(at.map(|at| self.integrator.take(at, (reading.watts * 1000.0).round() as u64)))
    }
}

/// Whether a power can be one.
///
/// # Errors
/// Why it cannot, as text.
pub fn check(watts: f64) -> Result<(), String> {
    if watts.is_finite() && watts > 0.0 && watts < LARGEST_WATTS {
        return Ok(());
    }
    Err(format!("the controller gave {watts} W, which a running server does not draw: its sensor is off or broken"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::integrate::UNIT;

    const SECOND: u64 = 1_000_000_000;

    fn reading(watts: f64, stamp: u64) -> PowerReading {
        PowerReading { watts, stamp_ns: Some(i128::from(stamp * SECOND)) }
    }

    #[test]
    fn a_cached_reading_is_no_sample_and_a_stuck_one_is_a_failure() {
        let mut track = PowerTrack::new(Duration::from_secs(1));
        assert!(track.take(reading(100.0, 5), SECOND).unwrap().is_some());
        assert_eq!(track.take(reading(100.0, 5), 2 * SECOND), Ok(None));
        let second = track.take(reading(300.0, 7), 3 * SECOND).unwrap().unwrap();
        assert_eq!(
            UNIT.cumulative_nanojoules(second.raw),
            400_000_000_000,
            "2 s of 200 W, though one was asked thrice"
        );
        assert_eq!(track.take(reading(300.0, 7), 13 * SECOND), Ok(None));
        assert!(track.take(reading(300.0, 7), 14 * SECOND).unwrap_err().contains("stopped"));
        assert!(track.take(reading(300.0, 19), 15 * SECOND).unwrap().unwrap().restart, "12 s are not bridged");
    }

    #[test]
    fn equal_powers_without_a_time_are_samples() {
        let mut track = PowerTrack::new(Duration::from_secs(1));
        let steady = PowerReading { watts: 150.0, stamp_ns: None };
        let last = (1..=4).map(|second| track.take(steady, second * SECOND).unwrap().unwrap()).last();
        assert_eq!(UNIT.cumulative_nanojoules(last.unwrap().raw), 450_000_000_000);
    }

    #[test]
    fn nonsense_is_refused() {
        for watts in [0.0, -3.0, 65_535.0, f64::NAN, f64::INFINITY] {
            assert!(check(watts).is_err(), "{watts}");
        }
        assert_eq!(check(0.5), Ok(()));
    }
}
