//! Idle power of measured sources, taken in the first seconds of a ledger while the program waits.

use crate::book::Book;
use crate::event::Severity;
use crate::source_book::SourceBook;
use crate::usage::MachineUsage;

/// A busier machine than this (thousandths of all processors) is not idle.
const IDLE_LOAD_PERMILLE: u128 = 100;

/// A source that is read seldom has this much longer for its two readings.
const PATIENCE_NS: u64 = 4_000_000_000;

/// A source at its first reading within the baseline: when, and the total so far.
type Anchor = (u64, u128);

/// Measures idle power once.
pub struct Baseline {
    duration_ns: u64,
    start: Option<MachineUsage>,
    anchors: Vec<Option<Anchor>>,
    done: bool,
}

impl Baseline {
    /// Measure for `seconds`. Done at once when that is 0 or no included source is measured: models bring their own.
    pub fn new(seconds: f64, book: &Book) -> Self {
        let needed = book.sources.iter().any(|source| source.is_included() && source.descriptor.is_measured());
        let anchors = vec![None; book.sources.len()];
        Self { duration_ns: (seconds.max(0.0) * 1e9) as u64, start: None, anchors, done: seconds <= 0.0 || !needed }
    }

    /// Whether phases may begin.
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Take in the tick the book has just ingested.
    pub fn observe(&mut self, usage: &MachineUsage, book: &mut Book) {
        if self.done {
            return;
        }
        let first = *self.start.get_or_insert(*usage);
        for (anchor, source) in self.anchors.iter_mut().zip(&book.sources) {
            let now = source.last.map(|(last_ns, _)| (last_ns, source.run_total()));
            *anchor = anchor.or(now);
        }
        let elapsed = usage.monotonic_ns.saturating_sub(first.monotonic_ns);
        // Energy is known between readings, not between ticks: a source that is read once a second needs two of them.
        let idle: Vec<Option<u128>> = self
            .anchors
            .iter()
            .zip(&book.sources)
            .map(|(anchor, source)| {
                let ((from_ns, before), (until_ns, _)) = (*anchor.as_ref()?, source.last?);
                let between = u128::from(until_ns.saturating_sub(from_ns));
                (between > 0).then(|| (source.run_total() - before) * 1_000_000_000 / between)
            })
            .collect();
        let is_wanted = |source: &SourceBook| {
            source.is_included() && source.descriptor.is_measured() && source.idle_nanowatts.is_none() && !source.lost
        };
        let missing = idle.iter().zip(&book.sources).any(|(idle, source)| idle.is_none() && is_wanted(source));
        if elapsed < self.duration_ns || (missing && elapsed < self.duration_ns + PATIENCE_NS) {
            return;
        }
        self.done = true;
        let busy = u128::from(usage.process_cpu_ns.saturating_sub(first.process_cpu_ns))
            + u128::from(usage.others_cpu_ns.saturating_sub(first.others_cpu_ns));
        let load = busy * 1000 / (u128::from(elapsed) * u128::from(usage.cpu_count.max(1))).max(1);
        if load > IDLE_LOAD_PERMILLE {
            let message = format!(
                "no idle baseline: the machine was {:.1} % busy while it was taken (limit 10 %); idle power stays inside the phases. Stop other work, or open with idle.seconds 0",
                load as f64 / 10.0
            );
            book.report("WARN_ENERGY_IDLE_BASELINE", Severity::Warning, message);
            return;
        }
        let mut silent = Vec::new();
        for (source, idle) in book.sources.iter_mut().zip(idle) {
            if !is_wanted(source) {
                continue;
            }
            source.idle_nanowatts = idle;
            if idle.is_none() {
                silent.push(source.descriptor.id.clone());
            }
        }
        if !silent.is_empty() {
            let message = format!(
                "no idle baseline for {}: fewer than two readings in {:.1} s; idle power stays inside the phases. A longer idle.seconds helps",
                silent.join(", "),
                elapsed as f64 / 1e9
            );
            book.report("WARN_ENERGY_IDLE_BASELINE", Severity::Warning, message);
        }
    }
}
