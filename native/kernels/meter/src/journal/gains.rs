//! What each commit added to each account, exactly: energy over time at the grain of the journal, merged into at most so
//! many stretches, with what moved between accounts while nothing ran kept apart.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::Serialize;

use super::commit::Commit;
use super::folder::segments;
use super::frame::{self, FrameKind};
use super::state::{Header, SEGMENT_FORMAT};
use super::varint::Cursor;
use crate::error::{MeterError, Result};

/// What one account of one source gained in a stretch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Gain {
    /// Index into [`GainSeries::sources`].
    pub source: usize,
    /// Index into [`GainSeries::accounts`].
    pub account: usize,
    /// Nanojoules, as decimal text; negative where energy was taken back from the account and given to another.
    pub nanojoules: String,
}

/// A stretch of time between two commits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GainPoint {
    /// Index into [`GainSeries::parts`].
    pub part: usize,
    /// Wall clock at its beginning, from the segment's start and the monotonic clock.
    pub start_unix_ms: u64,
    /// Wall clock at its end.
    pub end_unix_ms: u64,
    /// What was credited in it.
    pub gains: Vec<Gain>,
}

/// One segment: a stretch in which a program wrote without interruption.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GainPart {
    /// Its number.
    pub segment: u32,
    /// Wall clock at its start.
    pub started_unix_ms: u64,
    /// Wall clock at its last commit.
    pub ended_unix_ms: u64,
    /// Whether the ledger was closed in order.
    pub closed: bool,
    /// How balances changed between the part before and this one, without any time: phase energy that going back to a
    /// checkpoint turned into rework (negative here, positive there), or what a checkpoint brought from elsewhere.
    pub moved: Vec<Gain>,
}

/// Energy over time of one rank.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GainSeries {
    /// The run.
    pub run_id: String,
    /// Source ids.
    pub sources: Vec<String>,
    /// Account names.
    pub accounts: Vec<String>,
    /// Segments in order.
    pub parts: Vec<GainPart>,
    /// Stretches in order.
    pub points: Vec<GainPoint>,
}

type Gains = BTreeMap<(usize, usize), i128>;

struct Stretch {
    part: usize,
    start_unix_ms: u64,
    end_unix_ms: u64,
    gains: Gains,
}

#[derive(Default)]
struct Names {
    list: Vec<String>,
    index: HashMap<String, usize>,
}

impl Names {
    fn of(&mut self, name: &str) -> usize {
        if let Some(index) = self.index.get(name) {
            return *index;
        }
        self.list.push(name.to_owned());
        self.index.insert(name.to_owned(), self.list.len() - 1);
        self.list.len() - 1
    }
}

fn to_gains(gains: &Gains) -> Vec<Gain> {
    gains
        .iter()
        .filter(|(_, nanojoules)| **nanojoules != 0)
        .map(|((source, account), nanojoules)| Gain {
            source: *source,
            account: *account,
            nanojoules: nanojoules.to_string(),
        })
        .collect()
}

#[derive(Default)]
struct Reader {
    run_id: String,
    sources: Names,
    accounts: Names,
    parts: Vec<GainPart>,
    stretches: Vec<Stretch>,
    /// Balances at the last commit read.
    balances: HashMap<(usize, usize), u128>,
}

impl Reader {
    /// Read a segment up to its last whole commit; what follows is damage or a torn tail, which `verify` reports.
    fn take_segment(&mut self, bytes: &[u8]) {
        let Some(first) = frame::read(bytes).filter(|frame| frame.kind == FrameKind::Header) else { return };
        let Ok(header) = serde_json::from_slice::<Header>(first.payload) else { return };
        if header.format != SEGMENT_FORMAT {
            return;
        }
        self.run_id.clone_from(&header.carried.run_id);
        let sources: Vec<usize> = header.sources.iter().map(|source| self.sources.of(&source.id)).collect();
        let mut moved: Gains = self.balances.drain().map(|(key, nanojoules)| (key, -(nanojoules as i128))).collect();
        for entry in &header.carried.entries {
            let key = (self.sources.of(&entry.source), self.accounts.of(&entry.account));
            *moved.entry(key).or_default() += entry.nanojoules as i128;
            self.balances.insert(key, entry.nanojoules);
        }
        let part = self.parts.len();
        self.parts.push(GainPart {
            segment: header.segment,
            started_unix_ms: header.started_unix_ms,
            ended_unix_ms: header.started_unix_ms,
            closed: false,
            moved: to_gains(&moved),
        });
        let mut accounts: Vec<usize> = Vec::new();
        let mut start_unix_ms = header.started_unix_ms;
        let (mut offset, mut expected) = (0, first.sequence);
        // Like everything before a commit, the close counts with the commit behind it.
        let mut is_closing = false;
        while let Some(frame) = bytes.get(offset..).and_then(frame::read) {
            if frame.sequence != expected {
                break;
            }
            expected += 1;
            offset += frame.bytes.len();
            match frame.kind {
                FrameKind::Account => {
                    let mut cursor = Cursor::new(frame.payload);
                    let index: Option<usize> = cursor.read_as();
                    match (index, std::str::from_utf8(cursor.rest())) {
                        (Some(index), Ok(name)) if index == accounts.len() => accounts.push(self.accounts.of(name)),
                        _ => break,
                    }
                }
                FrameKind::Commit => {
                    let Some(commit) = Commit::read(frame.payload) else { break };
                    let mut gains = Gains::new();
                    for (source, account, balance) in &commit.balances {
                        let (Some(source), Some(account)) =
                            (sources.get(*source as usize), accounts.get(*account as usize))
                        else {
                            continue;
                        };
                        let before = self.balances.insert((*source, *account), balance.nanojoules).unwrap_or(0);
                        gains.insert((*source, *account), balance.nanojoules as i128 - before as i128);
                    }
                    // The monotonic clock, so that a wall clock set back does not turn time around.
                    let elapsed_ns = commit.monotonic_ns.saturating_sub(header.started_monotonic_ns);
                    let end_unix_ms = header.started_unix_ms + elapsed_ns / 1_000_000;
                    self.stretches.push(Stretch { part, start_unix_ms, end_unix_ms, gains });
                    self.parts[part].ended_unix_ms = end_unix_ms;
                    self.parts[part].closed = is_closing;
                    start_unix_ms = end_unix_ms;
                }
                FrameKind::Close => is_closing = true,
                // What else a segment holds says nothing about time and energy.
                _ => {}
            }
        }
    }

    /// Merge neighbours of one part until no more than `limit` stretches of equal length can remain.
    fn finish(self, limit: usize) -> GainSeries {
        let started = self.stretches.first().map_or(0, |stretch| stretch.start_unix_ms);
        let metered_ms: u64 =
            self.stretches.iter().map(|stretch| stretch.end_unix_ms.saturating_sub(stretch.start_unix_ms)).sum();
        let width_ms = if self.stretches.len() <= limit { 0 } else { metered_ms.div_ceil(limit.max(1) as u64).max(1) };
        let mut merged: Vec<Stretch> = Vec::new();
        for stretch in self.stretches {
            let bucket = |stretch: &Stretch| {
                stretch.start_unix_ms.saturating_sub(started).checked_div(width_ms).unwrap_or(u64::MAX)
            };
            match merged.last_mut() {
                Some(last) if width_ms > 0 && last.part == stretch.part && bucket(last) == bucket(&stretch) => {
                    last.end_unix_ms = stretch.end_unix_ms;
                    for (key, nanojoules) in stretch.gains {
                        *last.gains.entry(key).or_default() += nanojoules;
                    }
                }
                _ => merged.push(stretch),
            }
        }
        GainSeries {
            run_id: self.run_id,
            sources: self.sources.list,
            accounts: self.accounts.list,
            parts: self.parts,
            points: merged
                .into_iter()
                .map(|stretch| GainPoint {
                    part: stretch.part,
                    start_unix_ms: stretch.start_unix_ms,
                    end_unix_ms: stretch.end_unix_ms,
                    gains: to_gains(&stretch.gains),
                })
                .collect(),
        }
    }
}

/// Energy over time of the ledger in `folder`: what all stretches gained and what moved before each part add
/// up to the balances of the last commit, to the nanojoule.
///
/// # Errors
/// `ERR_LEDGER_EMPTY` when it holds no committed segment of `rank`; `ERR_LEDGER_IO`.
pub fn gains(folder: &Path, rank: u32, limit: usize) -> Result<GainSeries> {
    let mut reader = Reader::default();
    for segment in segments(folder)?.into_iter().filter(|segment| segment.rank == rank) {
        let bytes = std::fs::read(&segment.path).map_err(|error| MeterError::io("read", &segment.path, &error))?;
        reader.take_segment(&bytes);
    }
    if reader.stretches.is_empty() {
        return Err(MeterError::new(
            "ERR_LEDGER_EMPTY",
            format!(
                "no ledger of rank {rank} with a commit in {}; give the folder that a run wrote its energy to",
                folder.display()
            ),
        ));
    }
    Ok(reader.finish(limit))
}
