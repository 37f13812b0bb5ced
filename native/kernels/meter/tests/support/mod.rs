//! A powercap tree in a folder, and a sampler with a clock of its own: hours of metering in milliseconds.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::path::{Path, PathBuf};

use swift_meter::book::{Book, Tick};
use swift_meter::journal::state::LedgerState;
use swift_meter::mark_ring::{Edge, MarkRecord};
use swift_meter::path_table::PathTable;
use swift_meter::source::SourceReader;
use swift_meter::source::discover::{DiscoverOptions, Discovery, discover};
use swift_meter::usage::MachineUsage;
use swift_meter::{Meter, MeterOptions, Resume, mark_now};

/// A folder of its own for a test, removed with it.
pub struct Folder(PathBuf);

impl std::ops::Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An empty folder.
pub fn folder(name: &str) -> Folder {
    let unique = format!("swift-meter-{name}-{}-{}", std::process::id(), swift_meter::monotonic_nanoseconds());
    let folder = std::env::temp_dir().join(unique);
    std::fs::create_dir_all(&folder).expect("the temporary folder is writable");
    Folder(folder)
}

/// Unit of Intel packages, 2⁻¹⁴ J as the kernel truncates it.
pub const INTEL_UNIT: u128 = 61_035;

/// One zone of a fake tree.
pub struct FakeZone {
    folder: PathBuf,
    unit: u128,
    /// Nanojoules since the machine was built.
    pub total: u128,
}

impl FakeZone {
    /// Nanojoules at which the register returns to zero.
    pub fn modulus(&self) -> u128 {
        self.unit << 32
    }

    /// The file that shows the value.
    pub fn counter(&self) -> PathBuf {
        self.folder.join("energy_uj")
    }

    /// Show the present value as the kernel does: whole microjoules of the wrapped register.
    pub fn show(&self) {
        let microjoules = self.total % self.modulus() / 1000;
        std::fs::write(self.counter(), format!("{microjoules}\n")).unwrap();
    }

    /// Make the next read fail: the file is there, its content is not a number.
    pub fn break_once(&self) {
        std::fs::write(self.counter(), "").unwrap();
    }
}

/// A powercap tree.
pub struct FakeTree {
    pub root: Folder,
    pub zones: Vec<FakeZone>,
}

impl FakeTree {
    pub fn new(name: &str) -> Self {
        Self { root: folder(name), zones: Vec::new() }
    }

    /// Add a zone such as ("intel-rapl:0", "package-0"). Returns its index.
    pub fn zone(&mut self, entry: &str, name: &str, unit: u128, start: u128) -> usize {
        let folder = self.root.join(entry);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("name"), format!("{name}\n")).unwrap();
        let maximum = ((1 << 32) - 1) * unit / 1000;
        std::fs::write(folder.join("max_energy_range_uj"), format!("{maximum}\n")).unwrap();
        let zone = FakeZone { folder, unit, total: start };
        zone.show();
        self.zones.push(zone);
        self.zones.len() - 1
    }
}

/// Discover in the fake tree.
pub fn discover_in(root: &Path) -> Discovery {
    discover(&DiscoverOptions { powercap_root: Some(root.to_owned()), ..DiscoverOptions::default() })
}

/// Options of a fast ledger of a fake tree.
pub fn options(directory: &Path, tree: &FakeTree) -> MeterOptions {
    MeterOptions {
        directory: directory.to_owned(),
        run_id: "run".to_owned(),
        sample_period_ms: 10,
        commit_ms: 20,
        idle_seconds: 0.0,
        exclusive: true,
        powercap_root: Some(tree.root.to_path_buf()),
        sync: false,
        ..MeterOptions::default()
    }
}

/// A tree of one package.
pub fn one_package_tree(name: &str) -> FakeTree {
    let mut tree = FakeTree::new(name);
    tree.zone("intel-rapl:0", "package-0", INTEL_UNIT, 0);
    tree
}

/// Wait for something that comes by itself, however busy the machine is.
///
/// # Panics
/// When it has not come after a minute.
pub fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !done() {
        assert!(start.elapsed() < std::time::Duration::from_secs(60), "{what} never came");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}

/// A short run in a folder: a few phases, a few commits.
pub fn record(directory: &Path, tree: &mut FakeTree, resume: Resume, watts: u128) -> LedgerState {
    let mut meter = Meter::open(&MeterOptions { resume, ..options(directory, tree) }).unwrap();
    let path = meter.intern("train/forward").unwrap();
    // What is spent before a counter's first reading is nobody's.
    let opened = swift_meter::monotonic_nanoseconds();
    wait_for("a first reading", || meter.is_settled(opened));
    for _ in 0..4 {
        let token = meter.declare(path, 0).unwrap();
        mark_now(token, Edge::Begin);
        std::thread::sleep(std::time::Duration::from_millis(25));
        tree.zones[0].total += watts * 25_000_000;
        tree.zones[0].show();
        mark_now(token, Edge::End);
    }
    // A commit between those of the beginning and the end, however late the sampler is.
    let ticket = meter.request_snapshot();
    wait_for("a commit", || meter.take_snapshot(ticket).unwrap().is_some());
    meter.close().unwrap();
    meter.state()
}

/// A book fed from a fake tree with a virtual clock.
pub struct VirtualMeter {
    pub tree: FakeTree,
    pub book: Book,
    pub paths: PathTable,
    pub now_ns: u64,
    /// Wall clock set forward by so much.
    pub wall_ms: u64,
    readers: Vec<Box<dyn SourceReader>>,
    usage: MachineUsage,
    marks: Vec<MarkRecord>,
    next_token: u64,
}

impl VirtualMeter {
    /// Only the tree's sources: the memory model is left out, so that totals are the tree's.
    pub fn new(tree: FakeTree) -> Self {
        let mut found = discover_in(&tree.root);
        found.open.retain(|source| source.descriptor.is_measured());
        let (book, readers) = Book::new(found.open, true, 0);
        let mut meter = Self {
            tree,
            book,
            paths: PathTable::new(),
            now_ns: 0,
            wall_ms: 0,
            readers,
            usage: MachineUsage { cpu_count: 2, ..MachineUsage::default() },
            marks: Vec::new(),
            next_token: 1,
        };
        meter.sample();
        meter
    }

    /// Let each zone draw so many watts for a time, then read all of them.
    pub fn run(&mut self, duration_ns: u64, watts: &[u128]) {
        self.pass(duration_ns, watts);
        self.sample();
    }

    /// Let time pass without a reading.
    pub fn pass(&mut self, duration_ns: u64, watts: &[u128]) {
        self.now_ns += duration_ns;
        self.usage.process_cpu_ns += duration_ns;
        for (zone, watts) in self.tree.zones.iter_mut().zip(watts) {
            zone.total += u128::from(duration_ns) * watts;
            zone.show();
        }
    }

    /// The machine sleeps: the monotonic clock stands, the wall clock and the counters go on.
    pub fn sleep(&mut self, duration_ns: u64, watts: u128) {
        self.usage.asleep_ns += duration_ns;
        for zone in &mut self.tree.zones {
            zone.total += u128::from(duration_ns) * watts;
            zone.show();
        }
    }

    /// Read all zones now.
    pub fn sample(&mut self) {
        self.usage.monotonic_ns = self.now_ns;
        let now = self.now_ns;
        let usage = self.usage;
        let readings = self.readers.iter_mut().enumerate().map(|(index, reader)| {
            let reading = reader.read(&usage).map(|mut reading| {
                reading.monotonic_ns = now;
                reading
            });
            (index, reading)
        });
        let readings: Vec<_> = readings.collect();
        let marks = std::mem::take(&mut self.marks);
        self.book.ingest(Tick {
            usage,
            readings: &readings,
            marks: &marks,
            unix_ms: (now + usage.asleep_ns) / 1_000_000 + self.wall_ms,
            paths: &self.paths,
        });
        assert_eq!(self.book.find_imbalance(&self.paths), None);
    }

    /// Begin a phase at a moment; returns its token.
    pub fn begin(&mut self, path: &str, track: u32, at_ns: u64) -> u64 {
        let path = self.paths.intern(path).unwrap();
        let token = self.next_token;
        self.next_token += 1;
        self.marks.push(MarkRecord::Declare { token, path, track });
        self.marks.push(MarkRecord::Mark { token, edge: Edge::Begin, monotonic_ns: at_ns });
        token
    }

    /// End it.
    pub fn end(&mut self, token: u64, at_ns: u64) {
        self.marks.push(MarkRecord::Mark { token, edge: Edge::End, monotonic_ns: at_ns });
    }

    /// Energy of an instance over all sources, idle left out.
    pub fn energy(&self, token: u64) -> u128 {
        self.book.timeline.instance(token).unwrap().amounts.iter().map(|amounts| amounts.active).sum()
    }

    /// Credited nanojoules over all sources, by the start of the account's name.
    pub fn credited(&self, prefix: &str) -> u128 {
        let keys = self.book.accounts.keys();
        let matching = keys.iter().enumerate().filter(|(_, (kind, path))| {
            swift_meter::accounts::account_name(*kind, self.paths.name(*path)).starts_with(prefix)
        });
        matching
            .map(|(account, _)| {
                (0..self.book.sources.len())
                    .map(|source| self.book.accounts.balance(source, account as u32).nanojoules)
                    .sum::<u128>()
            })
            .sum()
    }

    /// Everything credited.
    pub fn total(&self) -> u128 {
        self.credited("")
    }
}

/// One joule.
pub const JOULE: u128 = 1_000_000_000;
/// One second.
pub const SECOND: u64 = 1_000_000_000;
/// One millisecond.
pub const MILLISECOND: u64 = 1_000_000;
