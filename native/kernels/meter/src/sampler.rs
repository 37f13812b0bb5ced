//! The one thread that reads sources. Deadlines are absolute and jittered; a blocked program delays nothing.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::baseline::Baseline;
use crate::book::Tick;
use crate::clock::{monotonic_nanoseconds, unix_milliseconds};
use crate::meter::{Requests, Shared, lock};
use crate::registry::Seat;
use crate::source::SourceReader;
use crate::usage::{MachineUsage, UsageReader};

/// A sample asked for comes no sooner than this after the one before.
const SHORTEST_PERIOD_NS: u64 = 4_000_000;

/// What the thread owns.
pub struct Sampler {
    /// Shared with the callers.
    pub shared: Arc<Shared>,
    /// Where marks arrive.
    pub seat: Arc<Seat>,
    /// Readers, in the order of the book's sources.
    pub readers: Vec<Box<dyn SourceReader>>,
    /// Idle power.
    pub baseline: Baseline,
    /// Mean period.
    pub period_ns: u64,
    /// Time between commits.
    pub commit_ns: u64,
    /// Whether processes started by this one count as this process.
    pub follow_children: bool,
}

/// ±10 % of the period, the same series in every run: sensors that update every 100 ms must not be read in step.
fn jittered(period_ns: u64, tick: u64) -> u64 {
    // splitmix64's finaliser: a hash of the tick's number is as good as a generator here.
    let mut value = tick.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    value = (value ^ (value >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value ^= value >> 31;
    period_ns - period_ns / 10 + value % (period_ns / 5).max(1)
}

/// Wait until `deadline_ns`, or until a caller wants something. Returns what is wanted.
fn wait(shared: &Shared, deadline_ns: u64, earliest_ns: u64) -> (bool, Vec<u64>) {
    let mut requests = lock(&shared.requests);
    loop {
        let now = monotonic_nanoseconds();
        let wanted = requests.stop || !requests.snapshots.is_empty() || (requests.sample && now >= earliest_ns);
        if wanted || now >= deadline_ns {
            requests.sample = false;
            return (requests.stop, std::mem::take(&mut requests.snapshots));
        }
        let until = if requests.sample { earliest_ns.min(deadline_ns) } else { deadline_ns };
        let rest = Duration::from_nanos(until.saturating_sub(now).max(1000));
        requests = shared.bell.wait_timeout(requests, rest).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn tick(sampler: &mut Sampler, usage_reader: &mut UsageReader) -> MachineUsage {
    let usage = usage_reader.read();
    let readings = sampler.readers.iter_mut().enumerate();
    let readings = readings
        .flat_map(|(index, reader)| reader.drain(&usage).into_iter().map(move |reading| (index, reading)))
        .collect();
    // Marks are taken after the readings: whatever happened before a reading is in the ring by now.
    let mut marks = Vec::new();
    sampler.seat.ring().drain(&mut marks);
    let mut core = lock(&sampler.shared.core);
    let paths = lock(&sampler.shared.paths);
    core.ingest(Tick { usage, readings, marks, unix_ms: unix_milliseconds(), paths: &paths });
    if !sampler.baseline.is_done() {
        sampler.baseline.observe(&usage, &mut core.book);
        if sampler.baseline.is_done() {
            lock(&sampler.shared.requests).ready = true;
        }
    }
    usage
}

fn commit(shared: &Shared, tickets: Vec<u64>, closing: bool) {
    let mut core = lock(&shared.core);
    let paths = lock(&shared.paths);
    let number = core.commit(monotonic_nanoseconds(), unix_milliseconds(), &paths, closing);
    if tickets.is_empty() {
        return;
    }
    let snapshot = core.snapshot(&paths);
    let Requests { taken, .. } = &mut *lock(&shared.requests);
    for ticket in tickets {
        taken.insert(ticket, (number, snapshot.clone()));
    }
}

/// The thread's whole life.
pub fn run(mut sampler: Sampler) {
    let mut usage_reader = UsageReader::open();
    if sampler.follow_children {
        usage_reader.follow_children();
    }
    let mut number = 0_u64;
    let mut last_commit_ns = 0;
    let mut deadline_ns = monotonic_nanoseconds();
    loop {
        let (stop, tickets) =
            wait(&sampler.shared, deadline_ns, deadline_ns.saturating_sub(sampler.period_ns) + SHORTEST_PERIOD_NS);
        let started = tick(&mut sampler, &mut usage_reader).monotonic_ns;
        number += 1;
        if stop || !tickets.is_empty() || started.saturating_sub(last_commit_ns) >= sampler.commit_ns {
            commit(&sampler.shared, tickets, stop);
            last_commit_ns = started;
        }
        if stop {
            return;
        }
        deadline_ns = started + jittered(sampler.period_ns, number);
    }
}
