//! Reads a segment back and proves it while reading.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use super::commit::{Commit, Sample, read_samples};
use super::encoder::{ChainHash, chain, from_hex, to_hex};
use super::frame::{self, FrameKind};
use super::state::{Header, LedgerState, NO_READING, SEGMENT_FORMAT, StoredEntry};
use super::varint::Cursor;
use crate::accounts::Balance;
use crate::error::{MeterError, Result};
use crate::event::Event;
use crate::regression::report::FitReport;
use crate::unit::EnergyUnit;

/// Something a check found wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable code.
    pub code: &'static str,
    /// Invariant or property that is broken.
    pub invariant: &'static str,
    /// File name.
    pub segment: String,
    /// What was expected and what was found.
    pub message: String,
}

/// A segment as read.
pub struct Replay {
    /// Its first frame.
    pub header: Header,
    /// What the ledger held at the last good commit.
    pub state: LedgerState,
    /// Hash of that commit.
    pub hash: ChainHash,
    /// Sequence number after that commit.
    pub next_sequence: u64,
    /// Wall clock of that commit.
    pub unix_ms: u64,
    /// Monotonic clock of that commit.
    pub monotonic_ns: u64,
    /// Hashes of all good commits.
    pub hashes: Vec<ChainHash>,
    /// Commits read.
    pub commits: u64,
    /// Samples read.
    pub samples: u64,
    /// Events, in order.
    pub events: Vec<Event>,
    /// Bytes after the last commit.
    pub torn_bytes: u64,
    /// Whether the ledger was closed in order.
    pub closed: bool,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
}

struct Reader {
    name: String,
    accounts: Vec<String>,
    balances: BTreeMap<(usize, usize), Balance>,
    sums: Vec<u128>,
    carried_sums: Vec<u128>,
    counts: Vec<u128>,
    pending: Vec<Sample>,
    pending_events: Vec<Event>,
    pending_fits: Option<Vec<FitReport>>,
    replay: Replay,
}

impl Reader {
    fn find(&mut self, code: &'static str, invariant: &'static str, message: String) {
        let segment = self.name.clone();
        self.replay.findings.push(Finding { code, invariant, segment, message });
    }

    /// Account names of earlier segments keep no index, so carried balances are matched by name when they change.
    fn carried_balance(&self, source: usize, account: usize) -> Balance {
        let header = &self.replay.header;
        let (Some(source), Some(account)) = (header.sources.get(source), self.accounts.get(account)) else {
            return Balance::default();
        };
        header.carried.entries.iter().find(|entry| entry.source == source.id && entry.account == *account).map_or(
            Balance::default(),
            |entry| Balance { nanojoules: entry.nanojoules, below: entry.below, above: entry.above },
        )
    }

    fn take_commit(&mut self, commit: &Commit, sequence: u64, bytes: &[u8]) {
        if commit.previous_hash != self.replay.hash {
            self.find("ERR_LEDGER_CHAIN", "chain", format!("commit {sequence} does not continue the commit before it"));
        }
        self.replay.hash = chain(&self.replay.hash, bytes);
        let samples = std::mem::take(&mut self.pending);
        for sample in samples {
            self.replay.samples += 1;
            match self.counts.get_mut(sample.source as usize) {
                Some(count) if sample.kind.counts() => *count += sample.delta,
                Some(_) => {}
                None => self.find(
                    "ERR_LEDGER_SAMPLE",
                    "I5",
                    format!("a sample names source {}, which this segment does not have", sample.source),
                ),
            }
        }
        for (source, account, balance) in &commit.balances {
            let key = (*source as usize, *account as usize);
            let before = self.balances.get(&key).copied().unwrap_or_else(|| self.carried_balance(key.0, key.1));
            if let Some(sum) = self.sums.get_mut(key.0) {
                *sum = sum.wrapping_add(balance.nanojoules).wrapping_sub(before.nanojoules);
            }
            self.balances.insert(key, *balance);
        }
        for index in 0..self.counts.len() {
            let source = self.replay.header.sources[index].clone();
            let Some(total) = commit.totals.get(index) else {
                self.find("ERR_LEDGER_COMMIT", "I3", format!("commit {sequence} has no total for {}", source.id));
                continue;
            };
            let unit = EnergyUnit { numerator: source.numerator, denominator: source.denominator.max(1) };
            let expected = unit.cumulative_nanojoules(self.counts[index]);
            if total.count != self.counts[index] || total.nanojoules != expected {
                self.find("ERR_LEDGER_INVARIANT", "I3", format!("at commit {sequence} the intervals of {} add up to {} counts ({expected} nJ), its total says {} ({} nJ)", source.id, self.counts[index], total.count, total.nanojoules));
            }
            if source.included && self.sums[index] != self.carried_sums[index] + total.nanojoules {
                self.find(
                    "ERR_LEDGER_INVARIANT",
                    "I1",
                    format!(
                        "at commit {sequence} the accounts of {} hold {} nJ, its counter {} nJ",
                        source.id,
                        self.sums[index],
                        self.carried_sums[index] + total.nanojoules
                    ),
                );
            }
        }
        self.replay.commits += 1;
        self.replay.unix_ms = commit.unix_ms;
        self.replay.monotonic_ns = commit.monotonic_ns;
        self.replay.hashes.push(self.replay.hash);
        self.replay.next_sequence = sequence + 1;
        self.replay.events.append(&mut self.pending_events);
        if let Some(fits) = self.pending_fits.take() {
            self.replay.state.fits = fits;
        }
        self.replay.state.sequence = sequence;
        self.replay.state.duration_nanoseconds = commit.duration_ns;
        self.replay.state.chain_hash = to_hex(&self.replay.hash);
        self.replay.state.gaps = self.replay.header.carried.gaps.clone();
        for (source, total) in self.replay.header.sources.iter().zip(&commit.totals) {
            if total.gap_ns > 0 {
                self.replay.state.add_gap(&source.id, total.gap_ns, NO_READING);
            }
        }
    }

    /// Balances by name: those carried, with those that changed in this segment over them.
    fn finish(mut self) -> Replay {
        let mut entries: BTreeMap<(String, String), Balance> = BTreeMap::new();
        for entry in &self.replay.header.carried.entries {
            let balance = Balance { nanojoules: entry.nanojoules, below: entry.below, above: entry.above };
            entries.insert((entry.source.clone(), entry.account.clone()), balance);
        }
        for ((source, account), balance) in &self.balances {
            let (Some(source), Some(account)) = (self.replay.header.sources.get(*source), self.accounts.get(*account))
            else {
                continue;
            };
            entries.insert((source.id.clone(), account.clone()), *balance);
        }
        self.replay.state.entries = entries
            .into_iter()
            .map(|((source, account), balance)| StoredEntry {
                source,
                account,
                nanojoules: balance.nanojoules,
                below: balance.below,
                above: balance.above,
            })
            .collect();
        self.replay
    }
}

/// Whether any whole frame begins inside `bytes` after its first byte: then what precedes it is damage, not a write
/// that a crash cut short.
fn holds_frame_later(bytes: &[u8]) -> bool {
    (1..bytes.len()).any(|offset| frame::read(&bytes[offset..]).is_some())
}

/// Read the bytes of a segment called `name`.
///
/// # Errors
/// `ERR_LEDGER_SEGMENT` when its first frame is not a header of a known format.
pub fn replay(bytes: &[u8], name: &str) -> Result<Replay> {
    let unreadable = |what: String| {
        MeterError::new(
            "ERR_LEDGER_SEGMENT",
            format!("segment {name} cannot be read: {what}; move it away or restore it from a copy"),
        )
    };
    let first = frame::read(bytes).filter(|frame| frame.kind == FrameKind::Header);
    let Some(first) = first else {
        return Err(unreadable(format!("its first frame is damaged or cut short ({} bytes)", bytes.len())));
    };
    let header: Header = serde_json::from_slice(first.payload).map_err(|error| unreadable(error.to_string()))?;
    if header.format != SEGMENT_FORMAT {
        return Err(unreadable(format!("its format is {:?}, this program reads {SEGMENT_FORMAT:?}", header.format)));
    }
    let hash = from_hex(&header.previous_hash).ok_or_else(|| unreadable("its hash is malformed".to_owned()))?;
    let carried_sums: Vec<u128> = header
        .sources
        .iter()
        .map(|source| {
            header.carried.entries.iter().filter(|entry| entry.source == source.id).map(|entry| entry.nanojoules).sum()
        })
        .collect();
    let mut state = header.carried.clone();
    state.segment = header.segment;
    let mut reader = Reader {
        name: name.to_owned(),
        accounts: Vec::new(),
        balances: BTreeMap::new(),
        sums: carried_sums.clone(),
        carried_sums,
        counts: vec![0; header.sources.len()],
        pending: Vec::new(),
        pending_events: Vec::new(),
        pending_fits: None,
        replay: Replay {
            next_sequence: first.sequence,
            unix_ms: header.started_unix_ms,
            monotonic_ns: header.started_monotonic_ns,
            hashes: Vec::new(),
            header,
            state,
            hash,
            commits: 0,
            samples: 0,
            events: Vec::new(),
            torn_bytes: 0,
            closed: false,
            findings: Vec::new(),
        },
    };
    let mut offset = 0;
    let mut committed = 0;
    let mut expected = first.sequence;
    while offset < bytes.len() {
        let Some(frame) = frame::read(&bytes[offset..]) else {
            if holds_frame_later(&bytes[offset..]) {
                reader.find("ERR_LEDGER_DAMAGED", "crc", format!("the frame at byte {offset} is damaged and whole frames follow it; everything after the commit before it is not counted"));
            }
            break;
        };
        if frame.sequence != expected {
            reader.find(
                "ERR_LEDGER_DAMAGED",
                "sequence",
                format!("frame {} stands where frame {expected} belongs", frame.sequence),
            );
            break;
        }
        expected += 1;
        offset += frame.bytes.len();
        let understood = match frame.kind {
            FrameKind::Header => offset == frame.bytes.len(),
            FrameKind::Account => {
                let mut cursor = Cursor::new(frame.payload);
                let index: Option<usize> = cursor.read_as();
                let account = std::str::from_utf8(cursor.rest());
                match (index, account) {
                    (Some(index), Ok(account)) if index == reader.accounts.len() => {
                        reader.accounts.push(account.to_owned());
                        true
                    }
                    _ => false,
                }
            }
            FrameKind::Samples => read_samples(frame.payload).map(|samples| reader.pending.extend(samples)).is_some(),
            FrameKind::Commit => Commit::read(frame.payload)
                .map(|commit| {
                    reader.take_commit(&commit, frame.sequence, &bytes[committed..offset]);
                    committed = offset;
                })
                .is_some(),
            FrameKind::Event => {
                serde_json::from_slice(frame.payload).map(|event| reader.pending_events.push(event)).is_ok()
            }
            FrameKind::Fits => {
                serde_json::from_slice(frame.payload).map(|fits| reader.pending_fits = Some(fits)).is_ok()
            }
            FrameKind::Close => {
                reader.replay.closed = true;
                true
            }
        };
        if !understood {
            reader.find(
                "ERR_LEDGER_DAMAGED",
                "format",
                format!("frame {} at byte {offset} passes its checksum but makes no sense", frame.sequence),
            );
            break;
        }
    }
    reader.replay.torn_bytes = (bytes.len() - committed) as u64;
    Ok(reader.finish())
}

/// Read a segment file.
///
/// # Errors
/// `ERR_LEDGER_IO`, or those of [`replay`].
pub fn replay_file(path: &Path) -> Result<Replay> {
    let bytes = std::fs::read(path).map_err(|error| MeterError::io("read", path, &error))?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    replay(&bytes, &name)
}
