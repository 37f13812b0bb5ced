//! Samples between the sampler, which takes them, and the book, which divides them.
//!
//! A sample is a few clocks and counters; dividing it walks phases, accounts and the window of the regression. On a machine
//! that computes, all of that is out of the caches ten times in a second. So the sampler only reads and puts down what
//! it read, and the book takes in the samples of a second at once: before each commit, or when somebody asks.

use std::sync::Arc;

use crate::baseline::Baseline;
use crate::book::Tick;
use crate::core::Core;
use crate::mark_ring::MarkRecord;
use crate::others::Others;
use crate::path_table::PathTable;
use crate::registry::Seat;
use crate::source::{RawReading, SourceReader};
use crate::usage::UsageReading;

/// Readings of one source: its index and the answer.
pub type Reading = (usize, Result<RawReading, String>);

struct Waiting {
    unix_ms: u64,
    /// Its readings end here in [`Intake::readings`].
    end: usize,
}

/// See the module's description. Its parts keep their memory: a steady run allocates nothing here.
pub struct Intake {
    /// Where marks arrive; gone once the ledger is closed.
    seat: Option<Arc<Seat>>,
    /// Readers that only compute, in the order of their sources.
    models: Vec<(usize, Box<dyn SourceReader>)>,
    baseline: Baseline,
    others: Others,
    waiting: Vec<Waiting>,
    usages: Vec<UsageReading>,
    readings: Vec<Reading>,
    /// Reused: marks, and the readings of one sample with those of the models.
    marks: Vec<MarkRecord>,
    one: Vec<Reading>,
    answers: Vec<Result<RawReading, String>>,
}

impl Intake {
    /// For a ledger whose marks arrive at `seat`.
    pub fn new(seat: Arc<Seat>, models: Vec<(usize, Box<dyn SourceReader>)>, baseline: Baseline) -> Self {
        Self {
            seat: Some(seat),
            models,
            baseline,
            others: Others::default(),
            waiting: Vec::new(),
            usages: Vec::new(),
            readings: Vec::new(),
            marks: Vec::new(),
            one: Vec::new(),
            answers: Vec::new(),
        }
    }

    /// Whether the idle baseline is done.
    pub fn is_ready(&self) -> bool {
        self.baseline.is_done()
    }

    /// Take no marks any more: the seat may be another ledger's soon.
    pub fn leave(&mut self) {
        self.seat = None;
    }

    /// Put down a sample. `readings` is emptied.
    pub fn put(&mut self, usage: UsageReading, unix_ms: u64, readings: &mut Vec<Reading>) {
        self.usages.push(usage);
        self.readings.append(readings);
        self.waiting.push(Waiting { unix_ms, end: self.readings.len() });
    }

    /// Let the book take in everything put down so far. Marks are taken after the readings, so that whatever happened
    /// before a reading is among them.
    pub fn feed(&mut self, core: &mut Core, paths: &PathTable) {
        if let Some(seat) = &self.seat {
            seat.ring().drain(&mut self.marks);
            core.book.note_marks(&self.marks);
            self.marks.clear();
        }
        self.others.complete(&mut self.usages);
        let mut readings = self.readings.drain(..);
        let mut taken = 0;
        for (Waiting { unix_ms, end }, UsageReading { usage, .. }) in self.waiting.drain(..).zip(self.usages.drain(..))
        {
            self.one.extend(readings.by_ref().take(end - taken));
            taken = end;
            for (index, model) in &mut self.models {
                model.drain(&usage, &mut self.answers);
                self.one.extend(self.answers.drain(..).map(|answer| (*index, answer)));
            }
            core.ingest(Tick { usage, readings: &self.one, marks: &[], unix_ms, paths });
            self.one.clear();
            self.baseline.observe(&usage, &mut core.book);
        }
    }
}
