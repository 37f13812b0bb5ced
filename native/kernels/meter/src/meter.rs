//! The meter of one process: opens the sources, runs the sampler thread, answers questions.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use serde::Serialize;

use crate::baseline::Baseline;
use crate::book::Book;
use crate::clock::{boot_hash, host_hash, monotonic_nanoseconds, short_hash, unix_milliseconds};
use crate::core::{Core, SegmentStart};
use crate::error::{MeterError, Result};
use crate::event::{Event, Severity};
use crate::intake::Intake;
use crate::journal::folder::{FolderLock, segment_file};
use crate::journal::state::{LedgerState, Snapshot};
use crate::journal::writer::JournalWriter;
use crate::mark_ring::MarkRecord;
use crate::options::MeterOptions;
use crate::path_table::{PathId, PathTable};
use crate::registry::Seat;
use crate::resume;
use crate::sampler::{self, Sampler};
use crate::source::discover::{Discovery, discover};
use crate::source::{Scope, SourceState};

/// Energy of one phase instance by source id, children included.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    /// Nanoseconds between the marks.
    pub duration_nanoseconds: u64,
    /// Whether its time was shared with an unrelated phase.
    pub estimated: bool,
    /// By source.
    pub sources: Vec<SettledSource>,
}

/// Part of [`Settled`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SettledSource {
    /// Source id.
    pub source: String,
    /// Nanojoules of this process.
    #[serde(with = "crate::decimal")]
    pub active: u128,
    /// Idle nanojoules of the machine during that time.
    #[serde(with = "crate::decimal")]
    pub idle: u128,
    /// How far `active` can be off because the phase's edges fell inside counter intervals.
    #[serde(with = "crate::decimal")]
    pub edge: u128,
}

/// What the sampler thread and the callers share.
pub struct Shared {
    /// Book and journal.
    pub core: Mutex<Core>,
    /// Phase names.
    pub paths: Mutex<PathTable>,
    /// Samples the book has not taken in yet. Locked after `core` and `paths`.
    pub intake: Mutex<Intake>,
    /// Requests to the sampler.
    pub requests: Mutex<Requests>,
    /// Rung when `requests` changes.
    pub bell: Condvar,
}

impl Shared {
    /// Book and names, with every sample and mark so far taken in.
    pub fn catch_up(&self) -> (MutexGuard<'_, Core>, MutexGuard<'_, PathTable>) {
        let mut core = lock(&self.core);
        let paths = lock(&self.paths);
        lock(&self.intake).feed(&mut core, &paths);
        (core, paths)
    }
}

/// What callers want of the sampler.
#[derive(Debug, Default)]
pub struct Requests {
    /// End after a last commit.
    pub stop: bool,
    /// Take no samples but those that end, or that a snapshot needs.
    pub held: bool,
    /// Sample soon.
    pub sample: bool,
    /// Commit soon and keep a snapshot under each of these tickets.
    pub snapshots: Vec<u64>,
    /// Snapshots taken: the commit they stand for, and the content.
    pub taken: HashMap<u64, (u64, Snapshot)>,
    /// Next ticket.
    pub next_ticket: u64,
    /// Baseline is done; phases may begin.
    pub ready: bool,
}

/// Lock, going on after a panic of another holder: the data are plain numbers, and a ledger that stops answering
/// would take the run with it.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ranks of one host that write to one folder count its sources once: whoever gets the lock of a source reads it, the
/// others name it as counted elsewhere.
fn claim(folder: &Path, found: &mut Discovery) -> Result<Vec<FolderLock>> {
    let host = host_hash();
    let mut locks = Vec::new();
    let mut lost = Vec::new();
    let mut host_is_ours = None;
    for source in &found.open {
        let of_device = matches!(source.descriptor.scope, Scope::Gpu | Scope::Module);
        let ours = match host_is_ours.filter(|_| !of_device) {
            Some(ours) => ours,
            None => {
                let what = if of_device { short_hash(&source.descriptor.id) } else { "machine".to_owned() };
                let lock = FolderLock::try_take(folder, &format!("{what}-{host}.lock"))?;
                let ours = lock.is_some();
                locks.extend(lock);
                ours
            }
        };
        if !of_device {
            host_is_ours = Some(ours);
        }
        if !ours {
            lost.push(source.descriptor.id.clone());
        }
    }
    found.open.retain(|source| !lost.contains(&source.descriptor.id));
    for descriptor in found.descriptors.iter_mut().filter(|descriptor| lost.contains(&descriptor.id)) {
        descriptor.state = SourceState::ShownOnly;
        descriptor.reason = "counted by another rank of this run on this host".to_owned();
    }
    Ok(locks)
}

/// See the module's description.
pub struct Meter {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    /// Place among the ledgers of this process, lock of the rank, and locks of the sources it counts, until it is closed.
    held: Option<(Arc<Seat>, FolderLock, Vec<FolderLock>)>,
}

impl Meter {
    /// Open a ledger: take the folder, find the sources, start sampling.
    ///
    /// # Errors
    /// `ERR_LEDGER_OPTION`, `ERR_LEDGER_LOCKED`, `ERR_LEDGER_EXISTS`, `ERR_LEDGER_SNAPSHOT`, `ERR_LEDGER_SEGMENT`,
    /// `ERR_LEDGER_IO`, `ERR_LEDGER_TOO_MANY`.
    pub fn open(options: &MeterOptions) -> Result<Self> {
        options.validate()?;
        let folder = &options.directory;
        std::fs::create_dir_all(folder).map_err(|error| MeterError::io("make the folder", folder, &error))?;
        let folder_lock = FolderLock::take(folder, options.rank)?;
        let start = resume::start(folder, options.rank, &options.resume, &options.run_id)?;
        let mut found = discover(&options.discover_options());
        let shared_locks = claim(folder, &mut found)?;
        let monotonic_ns = monotonic_nanoseconds();
        let (mut book, readers) = Book::new(found.open, options.exclusive, monotonic_ns);
        for (code, message) in found.warnings {
            book.report(code, Severity::Warning, message);
        }
        let baseline = Baseline::new(options.idle_seconds, &book);
        let segment_start = SegmentStart {
            host_hash: host_hash(),
            boot_hash: boot_hash(),
            rank: options.rank,
            unix_ms: unix_milliseconds(),
            monotonic_ns,
            clock_offset_ms: options.clock_offset_ms,
            folder: folder.clone(),
            segment_bytes: options.segment_bytes,
        };
        let name = segment_file(&segment_start.host_hash, &segment_start.boot_hash, options.rank, start.segment);
        let seat = Arc::new(Seat::take()?);
        let writer = JournalWriter::create(&folder.join(name), options.sync)?;
        let mut paths = PathTable::new();
        let core = Core::new(book, found.descriptors, start, segment_start, writer, &mut paths)?;
        let is_ready = baseline.is_done();
        let ring = seat.ring();
        let (models, readers): (Vec<_>, Vec<_>) =
            readers.into_iter().enumerate().partition(|(_, reader)| reader.is_model());
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            paths: Mutex::new(paths),
            intake: Mutex::new(Intake::new(Arc::clone(&seat), models, baseline)),
            requests: Mutex::new(Requests { ready: is_ready, ..Requests::default() }),
            bell: Condvar::new(),
        });
        let sampler = Sampler {
            shared: Arc::clone(&shared),
            ring,
            readers,
            period_ns: options.sample_period_ms * 1_000_000,
            commit_ns: options.commit_ms * 1_000_000,
            follow_children: options.follow_children,
        };
        let thread = std::thread::Builder::new()
            .name("swift-meter".to_owned())
            .spawn(move || sampler::run(sampler))
            .map_err(|error| MeterError::io("start the sampler for", folder, &error))?;
        Ok(Self { shared, thread: Some(thread), held: Some((seat, folder_lock, shared_locks)) })
    }

    /// The run's id: the folder's own when it was resumed.
    pub fn run_id(&self) -> String {
        lock(&self.shared.core).run_id().to_owned()
    }

    /// Whether the idle baseline is done; phases begun before spoil it.
    pub fn is_ready(&self) -> bool {
        lock(&self.shared.requests).ready
    }

    /// The id of a phase path.
    ///
    /// # Errors
    /// `ERR_ENERGY_PHASE_PATH`.
    pub fn intern(&self, path: &str) -> Result<PathId> {
        lock(&self.shared.paths).intern(path)
    }

    /// Declare a phase instance on `track` (0: the caller's own time; others: one number per stream). Its marks follow.
    ///
    /// # Errors
    /// `ERR_LEDGER_CLOSED`.
    pub fn declare(&self, path: PathId, track: u32) -> Result<u64> {
        let Some((seat, ..)) = &self.held else {
            return Err(MeterError::new("ERR_LEDGER_CLOSED", "the ledger is closed; begin phases before closing it"));
        };
        let token = seat.token();
        seat.ring().push(MarkRecord::Declare { token, path, track });
        Ok(token)
    }

    /// Energy of an ended instance; `None` until every living source has been read past its end. Asks the sampler to
    /// hurry.
    ///
    /// # Errors
    /// `ERR_ENERGY_PHASE_UNKNOWN` for a token that is too old, or was never of this ledger.
    pub fn try_settle(&self, token: u64) -> Result<Option<Settled>> {
        self.request_sample();
        let (core, _paths) = self.shared.catch_up();
        let book = &core.book;
        let Some(instance) = book.timeline.instance(token) else {
            return Err(MeterError::new(
                "ERR_ENERGY_PHASE_UNKNOWN",
                format!(
                    "phase token {token} is not known: settle a phase of this ledger within the next 20,000 phases"
                ),
            ));
        };
        let (Some(begin), Some(end)) = (instance.begin_ns, instance.end_ns) else {
            return Ok(None);
        };
        if !book.is_settled(end) {
            return Ok(None);
        }
        let sources = book.sources.iter().enumerate().filter(|(_, source)| source.is_included());
        Ok(Some(Settled {
            duration_nanoseconds: end - begin,
            estimated: instance.estimated,
            sources: sources
                .map(|(index, source)| SettledSource {
                    source: source.descriptor.id.clone(),
                    active: instance.amounts[index].active,
                    idle: instance.amounts[index].idle,
                    edge: instance.amounts[index].edge,
                })
                .collect(),
        }))
    }

    /// Whether every living source has been read since `monotonic_ns`. Asks the sampler to hurry.
    pub fn is_settled(&self, monotonic_ns: u64) -> bool {
        self.request_sample();
        self.shared.catch_up().0.book.is_settled(monotonic_ns)
    }

    fn request_sample(&self) {
        lock(&self.shared.requests).sample = true;
        self.shared.bell.notify_all();
    }

    /// Take no samples and make no commits for a while, or go on: the first sample afterwards covers the time. For
    /// measuring what sampling itself costs.
    pub fn hold_sampling(&self, held: bool) {
        lock(&self.shared.requests).held = held;
        self.shared.bell.notify_all();
    }

    /// Everything up to the last sample.
    pub fn state(&self) -> LedgerState {
        let (core, paths) = self.shared.catch_up();
        core.state(&paths)
    }

    /// Power over the last interval: watts measured and modelled, each `None` where no source of the kind answers.
    pub fn watts(&self) -> (Option<f64>, Option<f64>) {
        let (core, _paths) = self.shared.catch_up();
        let sum = |measured: bool| {
            let mut powers = core
                .book
                .sources
                .iter()
                .filter(|source| source.is_included() && source.descriptor.is_measured() == measured)
                .filter_map(|source| source.nanowatts())
                .peekable();
            powers.peek().is_some().then(|| powers.map(|power| power as f64 / 1e9).sum())
        };
        (sum(true), sum(false))
    }

    /// Ask for a commit and a snapshot of it; the ticket is for [`Self::take_snapshot`].
    pub fn request_snapshot(&self) -> u64 {
        let mut requests = lock(&self.shared.requests);
        let ticket = requests.next_ticket;
        requests.next_ticket += 1;
        requests.snapshots.push(ticket);
        self.shared.bell.notify_all();
        ticket
    }

    /// The snapshot, once its commit is durable.
    ///
    /// # Errors
    /// `ERR_LEDGER_WRITE` when the disk refuses the commit.
    pub fn take_snapshot(&self, ticket: u64) -> Result<Option<Snapshot>> {
        let disk = lock(&self.shared.core).disk();
        let mut requests = lock(&self.shared.requests);
        match requests.taken.get(&ticket) {
            Some((commit, _)) if *commit <= disk.durable => {
                Ok(requests.taken.remove(&ticket).map(|(_, snapshot)| snapshot))
            }
            Some(_) if disk.failure.is_some() => {
                requests.taken.remove(&ticket);
                Err(MeterError::new("ERR_LEDGER_WRITE", disk.failure.unwrap_or_default()))
            }
            _ => Ok(None),
        }
    }

    /// Events since the last call.
    pub fn take_events(&self) -> Vec<Event> {
        lock(&self.shared.core).take_events()
    }

    /// Ask for the end of sampling without waiting for it; [`Self::close`] then has little to wait for.
    pub fn begin_close(&self) {
        lock(&self.shared.requests).stop = true;
        self.shared.bell.notify_all();
    }

    /// Whether the sampler has ended.
    pub fn has_stopped(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Take a last sample, commit, and end the threads. A second call does nothing.
    ///
    /// # Errors
    /// `ERR_LEDGER_WRITE` when the last commit is not on disk.
    pub fn close(&mut self) -> Result<()> {
        let Some(thread) = self.thread.take() else {
            return Ok(());
        };
        self.begin_close();
        let panicked = thread.join().is_err();
        lock(&self.shared.intake).leave();
        let disk = lock(&self.shared.core).finish();
        self.held = None;
        if panicked {
            return Err(MeterError::new(
                "ERR_LEDGER_SAMPLER",
                "the sampler thread panicked; the ledger ends at its last commit",
            ));
        }
        match disk.failure {
            Some(failure) => Err(MeterError::new("ERR_LEDGER_WRITE", failure)),
            None => Ok(()),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        // A program that cares calls `close`; here nobody is left to tell.
        let _ = self.close();
    }
}
