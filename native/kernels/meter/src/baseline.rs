//! Idle power of measured sources, taken in the first seconds of a ledger while the program waits.

use crate::book::Book;
use crate::event::Severity;
use crate::usage::MachineUsage;

/// A busier machine than this (thousandths of all processors) is not idle.
const IDLE_LOAD_PERMILLE: u128 = 100;

/// Measures idle power once.
pub struct Baseline {
    duration_ns: u64,
    start: Option<(MachineUsage, Vec<u128>)>,
    done: bool,
}

impl Baseline {
    /// Measure for `seconds`. Done at once when that is 0 or no included source is measured: models bring their own.
    pub fn new(seconds: f64, book: &Book) -> Self {
        let needed = book.sources.iter().any(|source| source.is_included() && source.descriptor.is_measured());
        Self { duration_ns: (seconds.max(0.0) * 1e9) as u64, start: None, done: seconds <= 0.0 || !needed }
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
        let totals = |book: &Book| book.sources.iter().map(|source| source.run_total()).collect::<Vec<_>>();
        let Some((first, before)) = &self.start else {
            self.start = Some((*usage, totals(book)));
            return;
        };
        let elapsed = usage.monotonic_ns.saturating_sub(first.monotonic_ns);
        if elapsed < self.duration_ns {
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
        let after = totals(book);
        for (index, source) in book.sources.iter_mut().enumerate() {
            if source.is_included() && source.descriptor.is_measured() && source.idle_nanowatts.is_none() {
                source.idle_nanowatts = Some((after[index] - before[index]) * 1_000_000_000 / u128::from(elapsed));
            }
        }
    }
}
