//! The ledger of one process: the book, its journal, and what programs ask of them.

use std::path::PathBuf;

use crate::accounts::{AccountKind, Balance, account_name};
use crate::book::{Book, Tick};
use crate::error::Result;
use crate::event::{Event, Severity};
use crate::journal::commit::{Commit, write_samples};
use crate::journal::encoder::{Encoder, to_hex};
use crate::journal::folder::segment_file;
use crate::journal::frame::FrameKind;
use crate::journal::state::{Header, LedgerState, SEGMENT_FORMAT, SegmentSource, Snapshot, StoredEntry};
use crate::journal::varint;
use crate::journal::writer::{DiskState, JournalWriter};
use crate::path_table::PathTable;
use crate::resume::Start;
use crate::source::{SourceDescriptor, SourceState};
use crate::source_book::SourceBook;

/// Events kept for a program that does not ask.
const EVENTS_KEPT: usize = 1000;

/// The journal says this often how intervals are split.
const FITS_EVERY_NS: u64 = 60_000_000_000;

/// See the module's description.
pub struct Core {
    /// Balances and phases.
    pub book: Book,
    /// Every source, also those that are not read.
    descriptors: Vec<SourceDescriptor>,
    run_id: String,
    segment: u32,
    carried_duration_ns: u128,
    encoder: Encoder,
    writer: JournalWriter,
    names_written: usize,
    commits: u64,
    last_sequence: u64,
    /// Balances of sources that only earlier parts of the run had.
    retired: Vec<StoredEntry>,
    outbox: Vec<Event>,
    fits_written_ns: u64,
    segment_start: SegmentStart,
    segment_written: u64,
    disk_failed: bool,
    imbalance_reported: bool,
}

/// What is fixed when a segment begins.
pub struct SegmentStart {
    /// Hash of the machine's id.
    pub host_hash: String,
    /// Hash of the boot's id.
    pub boot_hash: String,
    /// Rank.
    pub rank: u32,
    /// Wall clock.
    pub unix_ms: u64,
    /// Monotonic clock.
    pub monotonic_ns: u64,
    /// How far the wall clock is ahead of the run's reference.
    pub clock_offset_ms: Option<i64>,
    /// Folder of the journal.
    pub folder: PathBuf,
    /// A segment that has grown beyond this is followed by another.
    pub segment_bytes: u64,
}

impl SegmentStart {
    fn header(&self, book: &Book, previous_hash: String, rework: Vec<StoredEntry>, carried: LedgerState) -> Header {
        let source = |source: &SourceBook| SegmentSource {
            id: source.descriptor.id.clone(),
            numerator: source.unit.numerator,
            denominator: source.unit.denominator,
            included: source.is_included(),
        };
        Header {
            format: SEGMENT_FORMAT.to_owned(),
            host_hash: self.host_hash.clone(),
            boot_hash: self.boot_hash.clone(),
            rank: self.rank,
            segment: carried.segment,
            started_unix_ms: self.unix_ms,
            started_monotonic_ns: self.monotonic_ns,
            clock_offset_ms: self.clock_offset_ms,
            previous_hash,
            sources: book.sources.iter().map(source).collect(),
            rework,
            carried: LedgerState { fits: Vec::new(), ..carried },
        }
    }
}

impl Core {
    /// Begin a segment.
    pub fn new(
        mut book: Book,
        mut descriptors: Vec<SourceDescriptor>,
        start: Start,
        segment_start: SegmentStart,
        writer: JournalWriter,
        paths: &mut PathTable,
    ) -> Result<Self> {
        let mut retired = Vec::new();
        for entry in &start.carried.entries {
            let index =
                book.sources.iter().position(|source| source.descriptor.id == entry.source && source.is_included());
            let (Some(index), Some((kind, path))) = (index, AccountKind::parse(&entry.account)) else {
                retired.push(entry.clone());
                continue;
            };
            let path = if path.is_empty() { crate::path_table::ROOT } else { paths.intern(path)? };
            let balance = Balance { nanojoules: entry.nanojoules, below: entry.below, above: entry.above };
            book.accounts.credit(index, kind, path, balance, paths);
            book.carry(index, entry.nanojoules);
        }
        for index in 0..book.sources.len() {
            // Carried balances are in the header; commits hold what changes after it.
            book.accounts.take_changed(index);
        }
        for old in start.carried.sources.iter().filter(|old| old.state == SourceState::Included) {
            if descriptors.iter().all(|source| source.id != old.id) {
                descriptors.push(SourceDescriptor {
                    state: SourceState::Unavailable,
                    reason: "read in an earlier part of this run, not present in this one".to_owned(),
                    ..old.clone()
                });
            }
        }
        book.gaps.clone_from(&start.carried.gaps);
        let carried = LedgerState { sources: descriptors.clone(), segment: start.segment, ..start.carried.clone() };
        let previous = if start.position == Default::default() { String::new() } else { to_hex(&start.position.hash) };
        let header = segment_start.header(&book, previous, start.rework, carried);
        let mut encoder = Encoder::new(start.position);
        let payload = serde_json::to_vec(&header).map_err(|error| {
            crate::MeterError::new("ERR_LEDGER_IO", format!("the header cannot be encoded: {error}"))
        })?;
        encoder.frame(FrameKind::Header, &payload);
        Ok(Self {
            book,
            descriptors,
            run_id: start.carried.run_id,
            segment: start.segment,
            carried_duration_ns: start.carried.duration_nanoseconds,
            encoder,
            writer,
            names_written: 0,
            commits: 0,
            last_sequence: start.carried.sequence,
            retired,
            outbox: Vec::new(),
            fits_written_ns: segment_start.monotonic_ns,
            segment_start,
            segment_written: 0,
            disk_failed: false,
            imbalance_reported: false,
        })
    }

    /// The run's id.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Take in one tick.
    pub fn ingest(&mut self, tick: Tick<'_>) {
        self.book.ingest(tick);
    }

    /// Make everything so far durable (the writing happens behind). Returns the number of the commit.
    pub fn commit(&mut self, monotonic_ns: u64, unix_ms: u64, paths: &PathTable, closing: bool) -> u64 {
        if closing {
            self.book.end_rests(paths);
            self.book.refit_all(paths);
        }
        if let Some(imbalance) = self.book.find_imbalance(paths).filter(|_| !self.imbalance_reported) {
            self.imbalance_reported = true;
            self.book.report("ERR_LEDGER_INVARIANT", Severity::Error, format!("{imbalance}; the ledger's numbers from here on are not to be trusted, please report this as a bug with the journal"));
        }
        let disk = self.writer.state();
        if disk.failure.is_some() != self.disk_failed {
            self.disk_failed = disk.failure.is_some();
            if let Some(failure) = disk.failure {
                self.book.report("ERR_LEDGER_WRITE", Severity::Error, failure);
            }
        }
        for event in std::mem::take(&mut self.book.events) {
            if let Ok(payload) = serde_json::to_vec(&event) {
                self.encoder.frame(FrameKind::Event, &payload);
            }
            self.outbox.push(event);
        }
        let surplus = self.outbox.len().saturating_sub(EVENTS_KEPT);
        self.outbox.drain(..surplus);
        let keys = self.book.accounts.keys();
        for (index, (kind, path)) in keys.iter().enumerate().skip(self.names_written) {
            let mut payload = Vec::new();
            varint::write(&mut payload, index as u128);
            payload.extend_from_slice(account_name(*kind, paths.name(*path)).as_bytes());
            self.encoder.frame(FrameKind::Account, &payload);
        }
        self.names_written = keys.len();
        let samples = std::mem::take(&mut self.book.samples);
        if !samples.is_empty() {
            self.encoder.frame(FrameKind::Samples, &write_samples(&samples));
        }
        if closing || monotonic_ns.saturating_sub(self.fits_written_ns) >= FITS_EVERY_NS {
            self.fits_written_ns = monotonic_ns;
            let fits = self.book.fits(paths);
            if let Ok(payload) = serde_json::to_vec(&fits)
                && !fits.is_empty()
            {
                self.encoder.frame(FrameKind::Fits, &payload);
            }
        }
        if closing {
            self.encoder.frame(FrameKind::Close, &[]);
        }
        let balances = (0..self.book.sources.len())
            .flat_map(|source| {
                let changed = self.book.accounts.take_changed(source);
                changed.into_iter().map(move |(account, balance)| (source as u32, account, balance))
            })
            .collect();
        let commit = Commit {
            previous_hash: self.encoder.position().hash,
            monotonic_ns,
            unix_ms,
            duration_ns: self.carried_duration_ns + self.book.duration_ns,
            totals: self.book.sources.iter().map(|source| source.segment_total()).collect(),
            balances,
        };
        let bytes = self.encoder.commit(&commit);
        self.last_sequence = self.encoder.position().next_sequence - 1;
        self.commits += 1;
        self.segment_written += bytes.len() as u64;
        self.writer.append(bytes, self.commits);
        if self.segment_written >= self.segment_start.segment_bytes && !closing {
            self.rotate(monotonic_ns, unix_ms, paths);
        }
        self.commits
    }

    /// Go on in a new segment right after a commit: its header carries everything, its counts begin at zero.
    fn rotate(&mut self, monotonic_ns: u64, unix_ms: u64, paths: &PathTable) {
        self.segment += 1;
        self.segment_written = 0;
        (self.segment_start.monotonic_ns, self.segment_start.unix_ms) = (monotonic_ns, unix_ms);
        let carried = self.state(paths);
        let previous = to_hex(&self.encoder.position().hash);
        let header = self.segment_start.header(&self.book, previous, Vec::new(), carried);
        let Ok(payload) = serde_json::to_vec(&header) else { return };
        let SegmentStart { host_hash, boot_hash, rank, folder, .. } = &self.segment_start;
        self.writer.rotate(folder.join(segment_file(host_hash, boot_hash, *rank, self.segment)));
        self.encoder.frame(FrameKind::Header, &payload);
        self.names_written = 0;
        self.book.begin_segment();
    }

    /// What the disk holds.
    pub fn disk(&self) -> DiskState {
        self.writer.state()
    }

    /// End the writing thread after the last commit.
    pub fn finish(&mut self) -> DiskState {
        self.writer.finish()
    }

    /// Everything up to the last sample.
    pub fn state(&self, paths: &PathTable) -> LedgerState {
        let keys = self.book.accounts.keys();
        let mut entries = self.retired.clone();
        for (index, source) in self.book.sources.iter().enumerate() {
            for (account, (kind, path)) in keys.iter().enumerate() {
                let balance = self.book.accounts.balance(index, account as u32);
                if balance != Balance::default() {
                    entries.push(StoredEntry {
                        source: source.descriptor.id.clone(),
                        account: account_name(*kind, paths.name(*path)),
                        nanojoules: balance.nanojoules,
                        below: balance.below,
                        above: balance.above,
                    });
                }
            }
        }
        LedgerState {
            run_id: self.run_id.clone(),
            segment: self.segment,
            sequence: self.last_sequence,
            chain_hash: to_hex(&self.encoder.position().hash),
            duration_nanoseconds: self.carried_duration_ns + self.book.duration_ns,
            sources: self.descriptors.clone(),
            entries,
            gaps: self.book.gaps.clone(),
            fits: self.book.fits(paths),
        }
    }

    /// What a checkpoint embeds; call right after [`Self::commit`].
    pub fn snapshot(&self, paths: &PathTable) -> Snapshot {
        Snapshot::from(&self.state(paths))
    }

    /// Events since the last call. Those not committed yet stay queued for their frame and come later.
    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.outbox)
    }
}
