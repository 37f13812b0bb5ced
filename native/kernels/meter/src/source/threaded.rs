//! A reader with a thread of its own: a driver call that takes 50 ms, or never returns, delays no other source. The
//! thread also finds the moments at which a slow counter moves, which a sampler with a period of its own cannot.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{RawReading, SourceReader};
use crate::clock::monotonic_nanoseconds;
use crate::usage::MachineUsage;

/// An unchanged counter is an interval of its own after this long: it may be idle, or gone.
const HOLD_NS: u64 = 1_000_000_000;

/// Finest polling while a move is awaited.
const FINE_NS: u64 = 1_000_000;

/// Polling while the update period is not known.
const COARSE_NS: u64 = 5_000_000;

/// Two answers further apart than this leave power between them unknown.
pub const GAP_NS: u64 = 2_000_000_000;

/// A call that has not returned for this long is a failed read.
const SILENT_NS: u64 = 3_000_000_000;

/// Reads a raw value; called from the thread.
pub type Poll = Box<dyn FnMut() -> Result<RawReading, String> + Send>;

/// How the thread polls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// A counter that moves rarely: report its moves.
    Edges,
    /// Everything, this often.
    Every(u64),
}

#[derive(Default)]
struct Queue {
    readings: VecDeque<Result<RawReading, String>>,
    answered_ns: u64,
}

/// See the module's description.
pub struct ThreadedReader {
    name: String,
    start: Option<(Poll, Plan)>,
    queue: Arc<Mutex<Queue>>,
    stop: Arc<AtomicBool>,
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where a slow counter's moves are, and when to look next.
#[derive(Debug, Default)]
pub struct EdgeFinder {
    last: Option<RawReading>,
    reported_ns: u64,
    edge_ns: Option<u64>,
    /// Times between moves, the latest ones.
    gaps: VecDeque<u64>,
}

impl EdgeFinder {
    /// Take in a poll; returns a reading when the counter moved (in the middle of the bracket of two polls), started,
    /// or stood still for long.
    pub fn take(&mut self, poll: RawReading) -> Option<RawReading> {
        let before = self.last.replace(poll);
        let moved = before.is_none_or(|before| before.raw != poll.raw);
        if !moved && poll.monotonic_ns.saturating_sub(self.reported_ns) < HOLD_NS {
            return None;
        }
        let monotonic_ns = match before {
            Some(before) if moved => before.monotonic_ns.midpoint(poll.monotonic_ns).max(self.reported_ns + 1),
            _ => poll.monotonic_ns,
        };
        if moved
            && before.is_some()
            && let Some(edge) = self.edge_ns.replace(monotonic_ns)
        {
            self.gaps.push_back(monotonic_ns - edge);
            if self.gaps.len() > 9 {
                self.gaps.pop_front();
            }
        }
        self.reported_ns = monotonic_ns;
        Some(RawReading { monotonic_ns, ..poll })
    }

    /// Update period of the counter, nanoseconds, once it is known.
    pub fn period_ns(&self) -> Option<u64> {
        let mut gaps: Vec<u64> = self.gaps.iter().copied().collect();
        gaps.sort_unstable();
        (gaps.len() >= 3).then(|| gaps[gaps.len() / 2])
    }

    /// When to look next: rarely until a move is due, finely around it.
    pub fn next_ns(&self, now_ns: u64) -> u64 {
        let (Some(period), Some(edge)) = (self.period_ns(), self.edge_ns) else {
            return now_ns + COARSE_NS;
        };
        let due = (edge + period).saturating_sub((period / 10).clamp(FINE_NS, 5 * FINE_NS));
        let fine = if now_ns > edge + 2 * period { COARSE_NS } else { FINE_NS };
        due.max(now_ns + fine)
    }
}

impl ThreadedReader {
    /// A reader whose thread starts with its first use.
    pub fn new(name: &str, plan: Plan, poll: Poll) -> Self {
        Self {
            name: name.to_owned(),
            start: Some((poll, plan)),
            queue: Arc::default(),
            stop: Arc::new(AtomicBool::new(false)),
        }
    }

    fn run(mut poll: Poll, plan: Plan, queue: &Mutex<Queue>, stop: &AtomicBool) {
        let mut edges = EdgeFinder::default();
        while !stop.load(Ordering::Relaxed) {
            let answer = poll();
            let now = monotonic_nanoseconds();
            let reading = match (answer, plan) {
                (Ok(reading), Plan::Edges) => edges.take(reading).map(Ok),
                (answer, _) => Some(answer),
            };
            {
                let mut queue = lock(queue);
                queue.answered_ns = now;
                queue.readings.extend(reading);
                // Nobody takes them: the sampler has ended.
                if queue.readings.len() > 100_000 {
                    return;
                }
            }
            let until = match plan {
                Plan::Edges => edges.next_ns(now),
                Plan::Every(period) => now + period,
            };
            std::thread::sleep(Duration::from_nanos(until.saturating_sub(now)));
        }
    }
}

impl SourceReader for ThreadedReader {
    fn read(&mut self, usage: &MachineUsage) -> Result<RawReading, String> {
        let mut readings = Vec::new();
        self.drain(usage, &mut readings);
        readings.pop().unwrap_or_else(|| Err(format!("{}: no new reading", self.name)))
    }

    fn drain(&mut self, _usage: &MachineUsage, into: &mut Vec<Result<RawReading, String>>) {
        if let Some((poll, plan)) = self.start.take() {
            lock(&self.queue).answered_ns = monotonic_nanoseconds();
            let (queue, stop) = (Arc::clone(&self.queue), Arc::clone(&self.stop));
            let thread = std::thread::Builder::new().name("swift-source".to_owned());
            if let Err(error) = thread.spawn(move || Self::run(poll, plan, &queue, &stop)) {
                into.push(Err(format!("{}: its reader cannot start: {error}", self.name)));
                return;
            }
        }
        let mut queue = lock(&self.queue);
        let silent = monotonic_nanoseconds().saturating_sub(queue.answered_ns);
        if queue.readings.is_empty() && silent > SILENT_NS {
            into.push(Err(format!("{}: a call has not returned for {:.0} s", self.name, silent as f64 / 1e9)));
        }
        into.extend(queue.readings.drain(..));
    }
}

impl Drop for ThreadedReader {
    fn drop(&mut self) {
        // Not joined: a call that hangs in a driver must not hold up the program's end.
        self.stop.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_found_between_two_polls_and_the_period_is_learnt() {
        let mut edges = EdgeFinder::default();
        let (mut now, mut polls, mut found) = (0_u64, 0, Vec::new());
        while now < 3_000_000_000 {
            polls += 1;
            if let Some(reading) = edges.take(RawReading::new(now, u128::from(now / 100_000_000))) {
                found.push(reading.monotonic_ns);
            }
            now = edges.next_ns(now);
        }
        assert!(edges.period_ns().unwrap().abs_diff(100_000_000) < 3_000_000);
        let worst =
            found.iter().skip(6).map(|at| (at + 50_000_000) % 100_000_000).map(|x| x.abs_diff(50_000_000)).max();
        assert!(worst.unwrap() <= FINE_NS, "{worst:?}");
        assert!(polls < 600, "{polls} polls for 30 moves");
    }

    #[test]
    fn a_counter_that_stands_still_reports_once_a_second() {
        let mut edges = EdgeFinder::default();
        let found = (0..5000).filter(|at| edges.take(RawReading::new(at * 1_000_000, 7)).is_some()).count();
        assert_eq!(found, 5);
    }

    #[test]
    fn a_call_that_hangs_delays_nobody() {
        let (sender, hang) = std::sync::mpsc::channel::<()>();
        let poll = move || {
            let _ = hang.recv();
            Err("released".to_owned())
        };
        let mut reader = ThreadedReader::new("slow", Plan::Every(1), Box::new(poll));
        let before = monotonic_nanoseconds();
        let mut readings = Vec::new();
        for _ in 0..100 {
            reader.drain(&MachineUsage::default(), &mut readings);
        }
        assert!(readings.is_empty());
        assert!(monotonic_nanoseconds() - before < 1_000_000_000);
        drop(sender);
    }
}
