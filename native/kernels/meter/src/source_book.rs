//! One source's running totals.

use crate::counter::WrappingCounter;
use crate::journal::commit::SourceTotal;
use crate::pace::Pace;
use crate::source::{Attribution, OpenSource, Provenance, SourceDescriptor, SourceReader, SourceState};
use crate::unit::EnergyUnit;
use crate::usage::MachineUsage;

/// A source as the book sees it.
pub struct SourceBook {
    /// What it is.
    pub descriptor: SourceDescriptor,
    /// Unit of its counts.
    pub unit: EnergyUnit,
    /// Idle power, from the model or from a baseline.
    pub idle_nanowatts: Option<u128>,
    pub(crate) attribution: Attribution,
    pub(crate) counter: WrappingCounter,
    pub(crate) last: Option<(u64, MachineUsage)>,
    /// The last reading, where the counter had not moved and its interval is still open.
    pub(crate) held: Option<MachineUsage>,
    pub(crate) pace: Pace,
    /// Counts and nanojoules of this segment.
    pub(crate) count: u128,
    /// Nanojoules of the run before this segment.
    pub(crate) carried: u128,
    /// Sum of the interval differences of this segment, for I3.
    pub(crate) interval_sum: u128,
    pub(crate) gap_ns: u128,
    pub(crate) failing_since: Option<u64>,
    pub(crate) lost: bool,
    pub(crate) previous_nanowatts: Option<u128>,
    /// What the counter shows can lag behind by so much, nanojoules.
    pub(crate) step_nanojoules: u128,
}

impl SourceBook {
    /// The book's half of an opened source, and the sampler's half.
    pub fn new(open: OpenSource) -> (Self, Box<dyn SourceReader>) {
        let book = Self {
            descriptor: open.descriptor,
            unit: open.unit,
            idle_nanowatts: open.idle_nanowatts,
            attribution: open.attribution,
            counter: open.counter,
            last: None,
            held: None,
            pace: Pace::default(),
            count: 0,
            carried: 0,
            interval_sum: 0,
            gap_ns: 0,
            failing_since: None,
            lost: false,
            previous_nanowatts: None,
            step_nanojoules: open.reader.step_nanojoules(),
        };
        (book, open.reader)
    }

    /// Whether a reading at `now` that shows what the one before showed says nothing yet.
    pub(crate) fn is_resting(&self, now: u64) -> bool {
        self.descriptor.provenance == Provenance::MeasuredCounter
            && self.last.is_some_and(|(last_ns, _)| now.saturating_sub(last_ns) < self.pace.hold_ns())
    }

    /// Whether its energy is credited to accounts.
    pub fn is_included(&self) -> bool {
        self.descriptor.state == SourceState::Included
    }

    /// Cumulative nanojoules of this segment.
    pub(crate) fn total(&self) -> u128 {
        self.unit.cumulative_nanojoules(self.count)
    }

    /// Cumulative values of this segment, for the commit.
    pub fn segment_total(&self) -> SourceTotal {
        SourceTotal { count: self.count, nanojoules: self.total(), gap_ns: self.gap_ns }
    }

    /// Nanojoules since the run began.
    pub fn run_total(&self) -> u128 {
        self.carried + self.total()
    }

    /// Power over the last interval.
    pub fn nanowatts(&self) -> Option<u128> {
        self.previous_nanowatts.filter(|_| !self.lost)
    }
}
