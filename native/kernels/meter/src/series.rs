//! A ledger over time, for a picture of it: cumulative energy of every source, and energy by class of phase in buckets.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::accounts::{AccountKind, account_name};
use crate::error::{MeterError, Result};
use crate::journal::commit::{Commit, Sample, SampleKind};
use crate::journal::folder::segments;
use crate::journal::replay::{Observer, replay_with};
use crate::journal::state::Header;
use crate::path_table::class_name;
use crate::source::Provenance;
use crate::unit::EnergyUnit;

/// What to show.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct SeriesOptions {
    /// Rank.
    pub rank: u32,
    /// Buckets at most; they are at least a second long. 1 to 100,000.
    pub buckets: u64,
}

impl Default for SeriesOptions {
    fn default() -> Self {
        Self { rank: 0, buckets: 600 }
    }
}

/// Energy of one source.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceSeries {
    /// Source id.
    pub source: String,
    /// How its numbers come to be.
    pub provenance: Option<Provenance>,
    /// Whether its energy is credited to accounts.
    pub included: bool,
    /// (wall-clock milliseconds, nanojoules since the run began, decimal): the last sample of each bucket.
    pub samples: Vec<(u64, String)>,
}

/// Energy of one account class.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassSeries {
    /// Account with `*` for counters: `phase/train/epoch:*/forward`, `idle/train`, `unattributed`.
    pub account: String,
    /// Whether from measured sources.
    pub measured: bool,
    /// Nanojoules in each bucket, decimal.
    pub nanojoules: Vec<String>,
}

/// A ledger over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Series {
    /// The run.
    pub run_id: String,
    /// Wall clock at the start of the first bucket.
    pub start_unix_ms: u64,
    /// Length of a bucket.
    pub bucket_ms: u64,
    /// By source.
    pub sources: Vec<SourceSeries>,
    /// By account class and provenance.
    pub accounts: Vec<ClassSeries>,
}

/// What was seen of one source: times and cumulative energy.
#[derive(Default)]
struct Track {
    provenance: Option<Provenance>,
    included: bool,
    nanojoules: u128,
    points: Vec<(u64, u128)>,
}

#[derive(Default)]
struct Collector {
    run_id: String,
    start_unix_ms: Option<u64>,
    end_unix_ms: u64,
    tracks: BTreeMap<String, Track>,
    /// Balances by (source, account), and changes by (account class, measured) with their time.
    balances: BTreeMap<(String, String), u128>,
    changes: BTreeMap<(String, bool), Vec<(u64, i128)>>,
    /// Of the segment: time and counts of each source.
    clocks: Vec<(u64, u128, u128)>,
    committed_unix_ms: u64,
}

/// Account without counters.
fn account_class(account: &str) -> String {
    match AccountKind::parse(account) {
        Some((kind, path)) if !path.is_empty() => account_name(kind, &class_name(path)),
        _ => account.to_owned(),
    }
}

impl Collector {
    fn begin(&mut self, header: &Header) {
        self.run_id.clone_from(&header.carried.run_id);
        self.start_unix_ms.get_or_insert(header.started_unix_ms);
        self.committed_unix_ms = header.started_unix_ms;
        self.clocks = vec![(header.started_monotonic_ns, 0, 0); header.sources.len()];
        for source in &header.carried.sources {
            self.tracks.entry(source.id.clone()).or_default().provenance = Some(source.provenance);
        }
        for source in &header.sources {
            self.tracks.entry(source.id.clone()).or_default().included |= source.included;
        }
        // Going back to a checkpoint moves energy between accounts while nothing runs.
        for entry in &header.carried.entries {
            self.change(&entry.source, &entry.account, entry.nanojoules, header.started_unix_ms);
        }
    }

    fn change(&mut self, source: &str, account: &str, nanojoules: u128, unix_ms: u64) {
        let before = self.balances.insert((source.to_owned(), account.to_owned()), nanojoules).unwrap_or(0);
        if before != nanojoules {
            let measured = self.tracks.get(source).and_then(|track| track.provenance) != Some(Provenance::Modelled);
            let changes = self.changes.entry((account_class(account), measured)).or_default();
            changes.push((unix_ms, nanojoules as i128 - before as i128));
        }
    }
}

impl Observer for Collector {
    fn commit(&mut self, header: &Header, accounts: &[String], samples: &[Sample], commit: &Commit) {
        if self.clocks.len() != header.sources.len() {
            self.begin(header);
        }
        let unix_of = |monotonic_ns: u64| {
            let before = commit.monotonic_ns.saturating_sub(monotonic_ns) / 1_000_000;
            commit.unix_ms.saturating_sub(before)
        };
        for sample in samples {
            let index = sample.source as usize;
            let (Some(source), Some(clock)) = (header.sources.get(index), self.clocks.get_mut(index)) else { continue };
            clock.0 = if sample.kind == SampleKind::Start { sample.elapsed_ns } else { clock.0 + sample.elapsed_ns };
            let unit = EnergyUnit { numerator: source.numerator, denominator: source.denominator.max(1) };
            clock.1 += if sample.kind.counts() { sample.delta } else { 0 };
            let total = unit.cumulative_nanojoules(clock.1);
            let track = self.tracks.entry(source.id.clone()).or_default();
            track.nanojoules += total - clock.2;
            clock.2 = total;
            track.points.push((unix_of(clock.0), track.nanojoules));
        }
        let middle = self.committed_unix_ms.midpoint(commit.unix_ms);
        for (source, account, balance) in &commit.balances {
            if let (Some(source), Some(account)) =
                (header.sources.get(*source as usize), accounts.get(*account as usize))
            {
                self.change(&source.id, account, balance.nanojoules, middle);
            }
        }
        self.committed_unix_ms = commit.unix_ms;
        self.end_unix_ms = self.end_unix_ms.max(commit.unix_ms);
    }
}

/// Changes in buckets. A later and better split takes from what was given before: no bucket is negative, the sum is.
fn fill(changes: &[(u64, i128)], buckets: usize, bucket_of: impl Fn(u64) -> usize) -> Vec<u128> {
    let mut filled = vec![0_u128; buckets];
    for (unix_ms, change) in changes {
        let mut at = bucket_of(*unix_ms);
        if let Ok(gain) = u128::try_from(*change) {
            filled[at] += gain;
            continue;
        }
        let mut owed = change.unsigned_abs();
        loop {
            let taken = owed.min(filled[at]);
            filled[at] -= taken;
            owed -= taken;
            if owed == 0 || at == 0 {
                break;
            }
            at -= 1;
        }
    }
    filled
}

/// The ledger of `options.rank` in `folder` over time.
///
/// # Errors
/// `ERR_LEDGER_OPTION`, `ERR_LEDGER_EMPTY`, `ERR_LEDGER_IO`, `ERR_LEDGER_SEGMENT`.
pub fn series(folder: &Path, options: &SeriesOptions) -> Result<Series> {
    if !(1..=100_000).contains(&options.buckets) {
        let what = format!("buckets is {}; it must be from 1 to 100000", options.buckets);
        return Err(MeterError::new("ERR_LEDGER_OPTION", what));
    }
    let mut collector = Collector::default();
    for segment in segments(folder)?.into_iter().filter(|segment| segment.rank == options.rank) {
        let bytes = std::fs::read(&segment.path).map_err(|error| MeterError::io("read", &segment.path, &error))?;
        collector.clocks.clear();
        match replay_with(&bytes, &segment.path.to_string_lossy(), &mut collector) {
            Ok(_) => {}
            // A crash before the first commit leaves nothing to show.
            Err(error) if error.code == "ERR_LEDGER_SEGMENT" && bytes.len() < 4096 => {}
            Err(error) => return Err(error),
        }
    }
    let Some(start_unix_ms) = collector.start_unix_ms else {
        return Err(MeterError::new(
            "ERR_LEDGER_EMPTY",
            format!(
                "no ledger of rank {} with a commit in {}; give the folder that a run wrote its energy to",
                options.rank,
                folder.display()
            ),
        ));
    };
    let length = collector.end_unix_ms.saturating_sub(start_unix_ms) + 1;
    let bucket_ms = length.div_ceil(options.buckets).max(1000);
    let buckets = length.div_ceil(bucket_ms).max(1) as usize;
    let bucket_of = |unix_ms: u64| ((unix_ms.saturating_sub(start_unix_ms) / bucket_ms) as usize).min(buckets - 1);
    let sources = collector.tracks.into_iter().filter(|(_, track)| !track.points.is_empty());
    let sources = sources.map(|(source, track)| {
        let mut last: BTreeMap<usize, (u64, u128)> = BTreeMap::new();
        for point in &track.points {
            last.insert(bucket_of(point.0), *point);
        }
        SourceSeries {
            source,
            provenance: track.provenance,
            included: track.included,
            samples: last.into_values().map(|(unix_ms, nanojoules)| (unix_ms, nanojoules.to_string())).collect(),
        }
    });
    let accounts = collector.changes.iter().map(|((account, measured), changes)| ClassSeries {
        account: account.clone(),
        measured: *measured,
        nanojoules: fill(changes, buckets, bucket_of).iter().map(u128::to_string).collect(),
    });
    Ok(Series {
        run_id: collector.run_id,
        start_unix_ms,
        bucket_ms,
        sources: sources.collect(),
        accounts: accounts.collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correction_takes_from_the_latest_buckets() {
        let filled = fill(&[(0, 10), (1, 5), (2, 3), (2, -7), (3, 1)], 4, |at| at as usize);
        assert_eq!(filled, [10, 1, 0, 1]);
    }

    #[test]
    fn counters_are_not_part_of_a_class() {
        assert_eq!(account_class("phase/train/epoch:3/forward"), "phase/train/epoch:*/forward");
        assert_eq!(account_class("overhead/ledger"), "overhead/ledger");
    }
}
