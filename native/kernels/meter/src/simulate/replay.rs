//! Plays a power trace through a slow counter into the book, and compares the accounts with the truth.

use super::Numbers;
use super::trace::{PhaseShape, Trace, TraceOptions};
use crate::book::{Book, Tick};
use crate::counter::WrappingCounter;
use crate::mark_ring::{Edge, MarkRecord};
use crate::path_table::PathTable;
use crate::regression::report::FitReport;
use crate::source::{
    Attribution, OpenSource, Provenance, RawReading, Scope, SourceDescriptor, SourceKind, SourceReader, SourceState,
};
use crate::unit::EnergyUnit;
use crate::usage::MachineUsage;

/// The counter of a replay.
#[derive(Debug, Clone, Copy)]
pub struct CounterOptions {
    /// It moves this often.
    pub period_ms: f64,
    /// Time from a move until it is seen, at most.
    pub latency_ms: f64,
    /// Smallest step, nanojoules.
    pub unit_nanojoules: u128,
}

impl Default for CounterOptions {
    fn default() -> Self {
        Self { period_ms: 100.0, latency_ms: 1.0, unit_nanojoules: 1_000_000 }
    }
}

/// A class of phases in a [`ReplayResult`].
#[derive(Debug, Clone)]
pub struct ClassResult {
    /// Name.
    pub name: &'static str,
    /// Exact integral.
    pub truth: f64,
    /// On the account.
    pub joules: f64,
    /// Half of the stated interval.
    pub half_width: f64,
    /// A plain read of the counter at both ends of each phase.
    pub plain: f64,
}

impl ClassResult {
    /// Error of the account, relative.
    pub fn error(&self) -> f64 {
        (self.joules / self.truth - 1.0).abs()
    }

    /// Error of plain reads, relative.
    pub fn plain_error(&self) -> f64 {
        (self.plain / self.truth - 1.0).abs()
    }

    /// Whether the truth lies in the interval.
    pub fn is_covered(&self) -> bool {
        (self.joules - self.truth).abs() <= self.half_width
    }
}

/// Estimate against truth.
#[derive(Debug, Clone)]
pub struct ReplayResult {
    /// By class.
    pub classes: Vec<ClassResult>,
    /// Single phases asked, and those whose truth lies in the stated interval.
    pub spans: (usize, usize),
    /// Mean half-width of the single phases over their energy.
    pub span_width: f64,
    /// Accounts against counter.
    pub conservation_error: u128,
    /// The fit.
    pub fit: Option<FitReport>,
}

struct NoReader;

impl SourceReader for NoReader {
    fn read(&mut self, _usage: &MachineUsage) -> Result<RawReading, String> {
        Err("a replay feeds its readings itself".to_owned())
    }
}

/// A source that a simulation feeds.
pub fn simulated_source(id: &str, unit: EnergyUnit, counter: WrappingCounter) -> OpenSource {
    OpenSource {
        descriptor: SourceDescriptor {
            id: id.to_owned(),
            kind: SourceKind::RaplPowercap,
            scope: Scope::Package,
            label: id.to_owned(),
            parent: None,
            provenance: Provenance::MeasuredCounter,
            state: SourceState::Included,
            reason: String::new(),
            method: "simulation".to_owned(),
            uncertainty_permille: 0,
            modulus_nanojoules: counter.modulus,
        },
        unit,
        counter,
        attribution: Attribution::CpuTime,
        idle_nanowatts: None,
        reader: Box::new(NoReader),
    }
}

/// Play `shapes` repeated as `trace` says through a counter.
pub fn replay(shapes: &[PhaseShape], trace_options: &TraceOptions, counter: &CounterOptions) -> ReplayResult {
    let trace = Trace::new(shapes, trace_options);
    let mut numbers = Numbers::new(trace_options.seed ^ 0xC0FFEE);
    let unit = EnergyUnit { numerator: counter.unit_nanojoules, denominator: 1 };
    let source = simulated_source("counter", unit, WrappingCounter::new(None, None));
    let (mut book, _) = Book::new(vec![source], true, 0);
    let mut paths = PathTable::new();
    let ids: Vec<u32> = shapes.iter().map(|shape| paths.intern(shape.name).unwrap_or(0)).collect();
    let period = (counter.period_ms * 1e6) as u64;
    let phase = (numbers.unit() * counter.period_ms * 1e6) as u64;
    let shown = |at_ns: u64| (trace.joules(at_ns) * 1e9) as u128 / counter.unit_nanojoules;
    let mut usage = MachineUsage { cpu_count: 1, ..MachineUsage::default() };
    let (mut token, mut update) = (0_usize, phase);
    let end = trace.end_ns() + 2 * period;
    while update < end {
        let mut marks = Vec::new();
        while let Some(next) = trace.phases.get(token).filter(|next| next.begin_ns < update + period) {
            let id = token as u64 + 1;
            marks.push(MarkRecord::Declare { token: id, path: ids[next.shape], track: 0 });
            marks.push(MarkRecord::Mark { token: id, edge: Edge::Begin, monotonic_ns: next.begin_ns });
            marks.push(MarkRecord::Mark { token: id, edge: Edge::End, monotonic_ns: next.end_ns });
            token += 1;
        }
        // The poll that sees the move lies up to the latency behind it; the bracket's middle is taken.
        let late = (numbers.unit() * counter.latency_ms - counter.latency_ms / 2.0) * 1e6;
        let seen = (update as f64 + late).max(1.0) as u64;
        usage.process_cpu_ns += seen.saturating_sub(usage.monotonic_ns);
        usage.monotonic_ns = seen;
        let reading = RawReading::new(seen, shown(update.min(trace.end_ns())));
        book.ingest(Tick { usage, readings: &[(0, Ok(reading))], marks: &marks, unix_ms: 0, paths: &paths });
        update += period;
    }
    book.refit_all(&paths);
    compare(shapes, &trace, &book, &paths, &ids, phase, period)
}

fn compare(
    shapes: &[PhaseShape],
    trace: &Trace,
    book: &Book,
    paths: &PathTable,
    ids: &[u32],
    phase: u64,
    period: u64,
) -> ReplayResult {
    // The counter starts at its first move; phases before it are nobody's.
    let from = phase + period;
    let last_move = |at: u64| phase + at.saturating_sub(phase) / period * period;
    let mut classes: Vec<ClassResult> = shapes
        .iter()
        .map(|shape| ClassResult { name: shape.name, truth: 0.0, joules: 0.0, half_width: 0.0, plain: 0.0 })
        .collect();
    let (mut asked, mut covered, mut width) = (0, 0, 0.0);
    for (index, span) in trace.phases.iter().enumerate() {
        let class = &mut classes[span.shape];
        let begin = span.begin_ns.max(phase);
        let truth = trace.joules(span.end_ns.max(begin)) - trace.joules(begin);
        class.truth += truth;
        class.plain += trace.joules(last_move(span.end_ns)) - trace.joules(last_move(begin));
        let Some(instance) = book.timeline.instance(index as u64 + 1).filter(|_| span.begin_ns > from) else {
            continue;
        };
        let estimate = instance.amounts[0].active as f64 / 1e9;
        let edge = instance.amounts[0].edge as f64 / 1e9;
        asked += 1;
        covered += usize::from((estimate - truth).abs() <= edge + 1e-3);
        width += edge / truth;
    }
    for (class, path) in classes.iter_mut().zip(ids) {
        for (account, (_, known)) in book.accounts.keys().iter().enumerate().filter(|(_, (_, known))| known == path) {
            let balance = book.accounts.balance(0, account as u32);
            debug_assert_eq!(known, path);
            class.joules += balance.nanojoules as f64 / 1e9;
            class.half_width += balance.above as f64 / 1e9;
        }
    }
    ReplayResult {
        classes,
        spans: (asked, covered),
        span_width: width / asked.max(1) as f64,
        conservation_error: book.accounts.source_total(0).abs_diff(book.sources[0].run_total()),
        fit: book.fits(paths).into_iter().next(),
    }
}
