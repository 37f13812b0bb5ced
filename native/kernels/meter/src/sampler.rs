//! The one thread that reads sources. Deadlines are absolute and jittered; a blocked program delays nothing.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::clock::{monotonic_nanoseconds, unix_milliseconds};
use crate::intake::Reading;
use crate::mark_ring::MarkRing;
use crate::meter::{Requests, Shared, lock};
use crate::source::{RawReading, SourceReader};
use crate::usage::UsageReader;

/// A sample asked for comes no sooner than this after the one before.
const SHORTEST_PERIOD_NS: u64 = 4_000_000;

/// The kernel may wake the thread so much late, together with something else: deadlines are jittered by more anyhow.
#[cfg(target_os = "linux")]
const TIMER_SLACK_NS: libc::c_ulong = 1_000_000;

/// What the thread owns.
pub struct Sampler {
    /// Shared with the callers.
    pub shared: Arc<Shared>,
    /// Where marks arrive.
    pub ring: &'static MarkRing,
    /// Readers that ask the hardware, with the index of their source.
    pub readers: Vec<(usize, Box<dyn SourceReader>)>,
    /// Mean period.
    pub period_ns: u64,
    /// Time between commits.
    pub commit_ns: u64,
    /// Whether processes started by this one count as this process.
    pub follow_children: bool,
}

/// What callers want of a tick.
struct Wanted {
    stop: bool,
    /// The book is to take in this sample now.
    feed: bool,
    tickets: Vec<u64>,
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
fn wait(shared: &Shared, deadline_ns: u64, earliest_ns: u64) -> Wanted {
    let mut requests = lock(&shared.requests);
    loop {
        let now = monotonic_nanoseconds();
        if requests.held && !requests.stop && requests.snapshots.is_empty() {
            requests = shared.bell.wait(requests).unwrap_or_else(PoisonError::into_inner);
            continue;
        }
        let wanted = requests.stop || !requests.snapshots.is_empty() || (requests.sample && now >= earliest_ns);
        if wanted || now >= deadline_ns {
            let feed = std::mem::take(&mut requests.sample);
            return Wanted { stop: requests.stop, feed, tickets: std::mem::take(&mut requests.snapshots) };
        }
        let until = if requests.sample { earliest_ns.min(deadline_ns) } else { deadline_ns };
        let rest = Duration::from_nanos(until.saturating_sub(now).max(1000));
        requests = shared.bell.wait_timeout(requests, rest).unwrap_or_else(PoisonError::into_inner).0;
    }
}

fn commit(shared: &Shared, tickets: Vec<u64>, closing: bool) {
    let (mut core, paths) = shared.catch_up();
    if !tickets.is_empty() {
        core.book.seal(&paths);
    }
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
    #[cfg(target_os = "linux")]
    // SAFETY: sets a number of this thread; no memory is passed.
    unsafe {
        libc::prctl(libc::PR_SET_TIMERSLACK, TIMER_SLACK_NS, 0, 0, 0);
    }
    let shared = Arc::clone(&sampler.shared);
    let mut usage_reader = UsageReader::open();
    if sampler.follow_children {
        usage_reader.follow_children();
    }
    // Kept for their memory.
    let (mut readings, mut answers): (Vec<Reading>, Vec<Result<RawReading, String>>) = (Vec::new(), Vec::new());
    let mut number = 0_u64;
    let mut last_commit_ns = 0;
    let mut is_ready = false;
    let mut deadline_ns = monotonic_nanoseconds();
    loop {
        let earliest_ns = deadline_ns.saturating_sub(sampler.period_ns) + SHORTEST_PERIOD_NS;
        let Wanted { stop, feed, tickets } = wait(&shared, deadline_ns, earliest_ns);
        let due = monotonic_nanoseconds().saturating_sub(last_commit_ns) >= sampler.commit_ns;
        let to_commit = stop || !tickets.is_empty() || due;
        let usage = usage_reader.read(to_commit);
        let started_ns = usage.usage.monotonic_ns;
        if stop {
            sampler.readers.iter_mut().for_each(|(_, reader)| reader.end());
        }
        for (index, reader) in &mut sampler.readers {
            if stop {
                reader.last(&usage.usage, &mut answers);
            } else {
                reader.drain(&usage.usage, &mut answers);
            }
            readings.extend(answers.drain(..).map(|answer| (*index, answer)));
        }
        lock(&shared.intake).put(usage, unix_milliseconds(), &mut readings);
        number += 1;
        if to_commit {
            commit(&shared, tickets, stop);
            last_commit_ns = started_ns;
        } else if feed || !is_ready || sampler.ring.is_filling() {
            drop(shared.catch_up());
        }
        if !is_ready && lock(&shared.intake).is_ready() {
            is_ready = true;
            lock(&shared.requests).ready = true;
        }
        if stop {
            return;
        }
        deadline_ns = started_ns + jittered(sampler.period_ns, number);
    }
}
