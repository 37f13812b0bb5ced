//! The book: turns samples and marks into balances. It holds no clock, no file and no thread, so that a test can run
//! years of it; the sampler feeds it.

use std::collections::VecDeque;

use crate::accounts::{AccountKind, Accounts, Balance};
use crate::counter::CounterStep;
use crate::event::{Event, Severity};
use crate::journal::commit::{Sample, SampleKind};
use crate::journal::state::{NO_READING, StoredGap, add_gap};
use crate::mark_ring::{Edge, MarkRecord};
use crate::path_table::{PathTable, ROOT};
use crate::regression::row::Row;
use crate::regression::window::Window;
use crate::source::{OpenSource, RawReading, SourceReader};
use crate::source_book::SourceBook;
use crate::timeline::Timeline;
use crate::usage::MachineUsage;

/// After this long without a good reading a source is reported lost and nothing waits for it.
pub const LOST_AFTER_NS: u64 = 10_000_000_000;

/// A wall clock that moves so much more or less than the monotonic one was set.
const CLOCK_STEP_MS: i64 = 2000;

/// The first and the last stretch of a source without a reading are gaps from here on. Sources that are read with every
/// sample never come near.
const EDGE_GAP_NS: u64 = 1_000_000_000;

/// Sleep shorter than this is not told from reading two clocks one after the other.
const SLEEP_NS: u64 = 1_000_000_000;

/// Everything that arrived since the last tick.
pub struct Tick<'a> {
    /// The machine at this tick.
    pub usage: MachineUsage,
    /// By source, for those that were read; several of one source come in order.
    pub readings: &'a [(usize, Result<RawReading, String>)],
    /// Marks in any order.
    pub marks: &'a [MarkRecord],
    /// Wall clock.
    pub unix_ms: u64,
    /// Names of the phases.
    pub paths: &'a PathTable,
}

/// See the module's description.
pub struct Book {
    /// Sources of this part of the run first, then those only earlier parts had.
    pub sources: Vec<SourceBook>,
    /// Balances.
    pub accounts: Accounts,
    /// Phases in time.
    pub timeline: Timeline,
    /// Gaps of earlier parts and of this one.
    pub gaps: Vec<StoredGap>,
    /// Events since they were last taken.
    pub events: Vec<Event>,
    /// Samples since the last commit.
    pub samples: Vec<Sample>,
    /// Metered time.
    pub duration_ns: u128,
    /// How the intervals of each source are split over phases.
    pub(crate) windows: Vec<Window>,
    /// Its memory serves the next row.
    pub(crate) spare_row: Row,
    pub(crate) exclusive: bool,
    pending_marks: VecDeque<(u64, u64, Edge)>,
    last_tick_ns: u64,
    unix_ms: u64,
    /// Wall clock minus monotonic clock and time asleep, milliseconds; time asleep.
    clocks: Option<(i64, u64)>,
    late_reported: bool,
    start_ns: u64,
}

impl Book {
    /// A book that starts at `start_ns`, with the readers of its sources beside it.
    pub fn new(open: Vec<OpenSource>, exclusive: bool, start_ns: u64) -> (Self, Vec<Box<dyn SourceReader>>) {
        let mut readers = Vec::new();
        let sources: Vec<SourceBook> = open
            .into_iter()
            .map(|source| {
                let (source, reader) = SourceBook::new(source);
                readers.push(reader);
                source
            })
            .collect();
        let book = Self {
            accounts: Accounts::new(sources.len()),
            timeline: Timeline::new(start_ns),
            gaps: Vec::new(),
            events: Vec::new(),
            samples: Vec::new(),
            duration_ns: 0,
            spare_row: Row::default(),
            windows: std::iter::repeat_with(Window::default).take(sources.len()).collect(),
            exclusive,
            pending_marks: VecDeque::new(),
            last_tick_ns: start_ns,
            unix_ms: 0,
            clocks: None,
            late_reported: false,
            start_ns,
            sources,
        };
        (book, readers)
    }

    /// Add what earlier parts of the run left in a source: its balances follow by [`Accounts::credit`].
    pub fn carry(&mut self, source: usize, nanojoules: u128) {
        self.sources[source].carried += nanojoules;
    }

    /// Queue an event.
    pub fn report(&mut self, code: &str, severity: Severity, message: String) {
        self.events.push(Event { code: code.to_owned(), severity, message, unix_ms: self.unix_ms });
    }

    /// Take in one tick.
    pub fn ingest(&mut self, tick: Tick<'_>) {
        self.unix_ms = tick.unix_ms;
        self.compare_clocks(&tick.usage);
        let horizon = tick
            .readings
            .iter()
            .filter_map(|(_, reading)| reading.as_ref().ok().map(|reading| reading.monotonic_ns))
            .fold(tick.usage.monotonic_ns, u64::max);
        self.note_marks(tick.marks);
        self.apply_marks(horizon, tick.paths);
        self.duration_ns += u128::from(horizon.saturating_sub(self.last_tick_ns));
        self.last_tick_ns = self.last_tick_ns.max(horizon);
        for (source, reading) in tick.readings {
            match reading {
                Ok(reading) => self.take_reading(*source, *reading, &tick.usage, tick.paths),
                Err(reason) => self.take_failure(*source, tick.usage.monotonic_ns, reason),
            }
        }
        let needed_from = self.sources.iter().filter(|source| !source.lost).filter_map(|source| source.last);
        if let Some(oldest) = needed_from.map(|(monotonic_ns, _)| monotonic_ns).min() {
            self.timeline.trim(oldest);
        }
    }

    fn compare_clocks(&mut self, usage: &MachineUsage) {
        let known = (usage.monotonic_ns + usage.asleep_ns) / 1_000_000;
        let offset = self.unix_ms as i64 - known as i64;
        let Some((before, asleep)) = self.clocks.replace((offset, usage.asleep_ns)) else { return };
        let step = offset - before;
        if step.abs() > CLOCK_STEP_MS {
            let message = format!(
                "the wall clock was set by {step} ms; energy and durations use the monotonic clock and do not change, times shown before and after do not line up"
            );
            self.report("WARN_ENERGY_CLOCK_STEP", Severity::Warning, message);
        }
        let slept = usage.asleep_ns.saturating_sub(asleep);
        if slept > SLEEP_NS {
            let message = format!(
                "the machine slept for {:.0} s; what its counters did meanwhile belongs to no phase: the interval is a gap",
                slept as f64 / 1e9
            );
            self.report("WARN_ENERGY_SUSPENDED", Severity::Warning, message);
        }
    }

    /// Keep marks, in any order, until a sample reaches their time; phases are known from now on.
    pub fn note_marks(&mut self, marks: &[MarkRecord]) {
        let sorted_until = self.pending_marks.len();
        for record in marks {
            match *record {
                MarkRecord::Declare { token, path, track } => {
                    self.timeline.declare(token, path, track, self.sources.len())
                }
                MarkRecord::Mark { token, edge, monotonic_ns } => {
                    self.pending_marks.push_back((monotonic_ns, token, edge))
                }
            }
        }
        if self.pending_marks.len() > sorted_until {
            // Stable: marks of one thread with equal times keep their order.
            self.pending_marks.make_contiguous().sort_by_key(|(monotonic_ns, ..)| *monotonic_ns);
        }
    }

    fn apply_marks(&mut self, horizon: u64, paths: &PathTable) {
        while self.pending_marks.front().is_some_and(|(at, ..)| *at <= horizon)
            && let Some((monotonic_ns, token, edge)) = self.pending_marks.pop_front()
        {
            if !self.timeline.apply(token, edge, monotonic_ns, paths) {
                self.report(
                    "WARN_ENERGY_STRAY_MARK",
                    Severity::Warning,
                    format!("a {edge:?} mark named the unknown phase token {token}; it was ignored"),
                );
            }
        }
        self.timeline.advance_to(horizon);
        if self.timeline.late_marks > 0 && !self.late_reported {
            self.late_reported = true;
            self.report(
                "WARN_ENERGY_LATE_MARK",
                Severity::Warning,
                "a phase mark arrived after its time had been divided; it took effect at the next sample".to_owned(),
            );
        }
    }

    fn take_failure(&mut self, index: usize, now: u64, reason: &str) {
        let source = &mut self.sources[index];
        let since = *source.failing_since.get_or_insert(now);
        if source.lost || now.saturating_sub(since) < LOST_AFTER_NS {
            return;
        }
        source.lost = true;
        let message = format!(
            "{} has given no reading for 10 s ({reason}); its energy is unavailable until it answers again",
            source.descriptor.id
        );
        self.report("ERR_ENERGY_SOURCE_LOST", Severity::Error, message);
    }

    fn record(&mut self, index: usize, kind: SampleKind, elapsed_ns: u64, delta: u128) {
        self.samples.push(Sample { source: index as u32, kind, elapsed_ns, delta });
    }

    fn lose_time(&mut self, index: usize, elapsed_ns: u64) {
        self.sources[index].gap_ns += u128::from(elapsed_ns);
        let id = self.sources[index].descriptor.id.clone();
        add_gap(&mut self.gaps, &id, u128::from(elapsed_ns), NO_READING);
    }

    fn take_reading(&mut self, index: usize, reading: RawReading, usage: &MachineUsage, paths: &PathTable) {
        let source = &mut self.sources[index];
        source.failing_since = None;
        source.lost = false;
        let now = reading.monotonic_ns;
        let known_ns = source.held.map(|held| held.monotonic_ns).or(source.last.map(|(last_ns, _)| last_ns));
        if known_ns.is_some_and(|known_ns| now <= known_ns) {
            // I5: one instant belongs to one interval. A clock that stands still or runs back yields no sample.
            return;
        }
        let slept = source.last.map_or(0, |(_, before)| usage.asleep_ns.saturating_sub(before.asleep_ns));
        if reading.restart || slept > SLEEP_NS {
            source.counter.forget();
            source.pace.forget();
        }
        let step = source.counter.step(now, reading.raw);
        let still = step == (CounterStep::Advance { delta: 0, possible_extra_turns: 0 });
        if still && source.is_resting(now) {
            source.held = Some(MachineUsage { monotonic_ns: now, ..*usage });
            return;
        }
        // A counter that rested moved between two readings; the middle is never off by more than half of their distance.
        let rested = source.held.take().filter(|_| !still);
        let now = rested.map_or(now, |held| held.monotonic_ns.midpoint(now));
        if !still {
            source.pace.take_move(now);
        }
        self.close_interval(index, now, step, reading.raw, usage, paths);
    }

    /// End the intervals of counters that rest: nothing is left open when totals are final. What a source has not been
    /// read for in the end is a gap.
    pub fn end_rests(&mut self, paths: &PathTable) {
        self.end_intervals(paths);
        for index in 0..self.sources.len() {
            let (last_ns, _) = self.sources[index].last.unwrap_or((self.start_ns, MachineUsage::default()));
            let silent_ns = self.last_tick_ns.saturating_sub(last_ns);
            if silent_ns > EDGE_GAP_NS && self.sources[index].is_included() {
                self.lose_time(index, silent_ns);
            }
        }
    }

    fn end_intervals(&mut self, paths: &PathTable) {
        for index in 0..self.sources.len() {
            if let Some(held) = self.sources[index].held.take() {
                let step = CounterStep::Advance { delta: 0, possible_extra_turns: 0 };
                self.close_interval(index, held.monotonic_ns, step, 0, &held, paths);
            }
        }
    }

    fn close_interval(
        &mut self,
        index: usize,
        now: u64,
        step: CounterStep,
        raw: u128,
        usage: &MachineUsage,
        paths: &PathTable,
    ) {
        let source = &mut self.sources[index];
        let previous = source.last.replace((now, MachineUsage { monotonic_ns: now, ..*usage }));
        let elapsed_ns = previous.map_or(0, |(last_ns, _)| now - last_ns);
        match step {
            CounterStep::Start => {
                self.record(index, SampleKind::Start, now, 0);
                let waited_ns = now.saturating_sub(self.start_ns);
                if elapsed_ns > 0 {
                    self.lose_time(index, elapsed_ns);
                } else if previous.is_none() && waited_ns > EDGE_GAP_NS && self.sources[index].is_included() {
                    self.lose_time(index, waited_ns);
                }
                self.widen_by_step(index, paths);
            }
            CounterStep::Reset => {
                self.record(index, SampleKind::Start, now, 0);
                self.lose_time(index, elapsed_ns);
                self.widen_by_step(index, paths);
                let message = format!(
                    "{} went back to {}; the {:.1} s before it are recorded as a gap",
                    self.sources[index].descriptor.id,
                    raw,
                    elapsed_ns as f64 / 1e9
                );
                self.report("WARN_ENERGY_COUNTER_RESET", Severity::Warning, message);
            }
            CounterStep::Implausible { delta } => {
                self.record(index, SampleKind::Quarantined, elapsed_ns, delta);
                self.lose_time(index, elapsed_ns);
                let message = format!(
                    "{} advanced by {delta} counts in {:.3} s, more than the hardware can draw; the reading is in quarantine and its time is a gap",
                    self.sources[index].descriptor.id,
                    elapsed_ns as f64 / 1e9
                );
                self.report("WARN_ENERGY_QUARANTINED", Severity::Warning, message);
            }
            CounterStep::Advance { delta, possible_extra_turns } => {
                let before = self.sources[index].total();
                self.sources[index].count += delta;
                let nanojoules = self.sources[index].total() - before;
                self.sources[index].interval_sum += nanojoules;
                let kind = if possible_extra_turns > 0 { SampleKind::ImputedGap } else { SampleKind::Interval };
                self.record(index, kind, elapsed_ns, delta);
                let Some((last_ns, usage_before)) = previous else {
                    return;
                };
                if possible_extra_turns > 0 {
                    self.impute_gap(index, nanojoules, possible_extra_turns, elapsed_ns, paths);
                } else if self.sources[index].is_included() {
                    // A reading of a device's own thread has its own time; what the machine did is known per tick.
                    let after = MachineUsage { monotonic_ns: now, ..*usage };
                    self.divide(index, (last_ns, &usage_before), (now, &after), nanojoules, paths);
                }
                self.sources[index].previous_nanowatts =
                    Some(nanojoules * 1_000_000_000 / u128::from(elapsed_ns.max(1)));
            }
        }
    }

    /// A counter in steps shows up to one step less than was drawn, at the start and at the end: what lies between them
    /// is off by up to one step either way, to whomever it belongs.
    fn widen_by_step(&mut self, index: usize, paths: &PathTable) {
        let step = self.sources[index].step_nanojoules;
        if step > 0 && self.sources[index].is_included() {
            let amount = Balance { nanojoules: 0, below: step, above: step };
            self.accounts.credit(index, AccountKind::Unattributed, ROOT, amount, paths);
        }
    }

    /// The counter may have turned once more, or often: all of the stretch goes to `gap`, with every case inside its
    /// interval.
    fn impute_gap(&mut self, index: usize, nanojoules: u128, extra_turns: u128, elapsed_ns: u64, paths: &PathTable) {
        let source = &self.sources[index];
        let modulus = source.counter.modulus.unwrap_or(0);
        let above = source.unit.cumulative_nanojoules(extra_turns * modulus);
        let message = format!(
            "{} was not read for {:.0} s, in which its counter may have wrapped {extra_turns} times unseen; {:.1} to {:.1} J are booked as a gap",
            source.descriptor.id,
            elapsed_ns as f64 / 1e9,
            nanojoules as f64 / 1e9,
            (nanojoules + above) as f64 / 1e9
        );
        if self.sources[index].is_included() {
            let amount = Balance { nanojoules, below: 0, above };
            self.accounts.credit(index, AccountKind::Gap, ROOT, amount, paths);
        }
        self.report("WARN_ENERGY_IMPUTED_GAP", Severity::Warning, message);
    }

    /// I1, I2 and I3 over everything so far. The text names the first that does not hold.
    pub fn find_imbalance(&self, paths: &PathTable) -> Option<String> {
        for (index, source) in self.sources.iter().enumerate() {
            if source.interval_sum != source.total() {
                return Some(format!(
                    "I3: the intervals of {} add up to {} nJ, its counter to {} nJ",
                    source.descriptor.id,
                    source.interval_sum,
                    source.total()
                ));
            }
            let credited = self.accounts.source_total(index);
            if source.is_included() && credited != source.run_total() {
                return Some(format!(
                    "I1: the accounts of {} hold {credited} nJ, its counter {} nJ",
                    source.descriptor.id,
                    source.run_total()
                ));
            }
        }
        let path = self.accounts.find_unbalanced_phase(paths)?;
        Some(format!("I2: the phases under {:?} do not add up to it", paths.name(path)))
    }

    /// Whether every living source has been read since `monotonic_ns`.
    pub fn is_settled(&self, monotonic_ns: u64) -> bool {
        self.sources
            .iter()
            .filter(|source| source.is_included() && !source.lost)
            .all(|source| source.last.is_some_and(|(last_ns, _)| last_ns >= monotonic_ns))
    }

    /// Start a new segment: counts begin at zero, the nanojoules so far are carried.
    pub fn begin_segment(&mut self) {
        for index in 0..self.sources.len() {
            let source = &mut self.sources[index];
            source.carried += source.total();
            source.count = 0;
            source.interval_sum = 0;
            source.gap_ns = 0;
            if let Some((last_ns, _)) = source.last {
                self.record(index, SampleKind::Start, last_ns, 0);
            }
        }
    }
}
