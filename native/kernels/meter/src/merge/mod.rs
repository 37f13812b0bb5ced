//! Ledgers of several ranks, hosts and parts as one: a set union of segments, so that the order and the number of
//! copies of what is merged do not matter.
//!
//! A segment is known by (host, boot, run, rank, number, first sequence). Two copies must agree as far as the shorter
//! one goes; if they do not, one of them is wrong and nobody can tell which. A device that several ranks read counts
//! once: the lowest rank's segments count, and those of others that overlap them in time do not.

mod collect;
mod owners;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::Serialize;
use sha2::{Digest, Sha256};

use self::collect::{Member, collect};
use crate::accounts::{AccountKind, Balance, account_name};
use crate::error::{MeterError, Result};
use crate::journal::encoder::{ChainHash, to_hex};
use crate::journal::state::{LedgerState, StoredEntry, StoredGap, add_gap};
use crate::source::{SourceDescriptor, SourceState};

/// Wall clocks further apart than this are worth a note (MLPerf's limit for synchronised hosts).
const OFFSET_NOTED_MS: i64 = 400;

/// Beyond this, phases of different hosts cannot be laid over each other.
const OFFSET_REFUSED_MS: i64 = 800;

/// One rank's part of a merge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MergedRank {
    /// Hash of the host's id.
    pub host: String,
    /// Run.
    pub run_id: String,
    /// Rank.
    pub rank: u32,
    /// Segments.
    pub segments: u64,
    /// Commits.
    pub commits: u64,
    /// Samples.
    pub samples: u64,
    /// Wall clock at the start of the first segment.
    pub started_unix_ms: u64,
    /// Wall clock of the last commit.
    pub ended_unix_ms: u64,
    /// How far its clock is ahead of the run's reference, where the launcher told.
    pub clock_offset_ms: Option<i64>,
    /// Largest difference between wall clock and monotonic clock over a segment: a step, or time asleep.
    pub clock_step_ms: i64,
}

/// Something a reader of the merge should know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct MergeNote {
    /// Stable code.
    pub code: String,
    /// What was found.
    pub message: String,
}

/// A merge: a ledger's state, and where it came from.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Merged {
    /// As of one ledger; ids of sources have the host before them where there are several hosts.
    #[serde(flatten)]
    pub state: LedgerState,
    /// By host, run and rank.
    pub ranks: Vec<MergedRank>,
    /// Whether clocks are close enough to lay phases of different hosts over each other.
    pub phase_aligned: bool,
    /// Sorted.
    pub notes: Vec<MergeNote>,
}

type EntryKey = (String, String);

/// Credit the difference of two states' balances.
fn add_difference(into: &mut BTreeMap<EntryKey, [i128; 3]>, entry: &StoredEntry, source: &str, sign: i128) {
    let sums = into.entry((source.to_owned(), entry.account.clone())).or_default();
    for (sum, value) in sums.iter_mut().zip([entry.nanojoules, entry.below, entry.above]) {
        *sum += sign * value as i128;
    }
}

/// Where going back to a checkpoint moved an account's energy.
fn rework_target(account: &str) -> Option<String> {
    match AccountKind::parse(account)? {
        (AccountKind::Phase, path) => Some(account_name(AccountKind::Rework, path)),
        (AccountKind::Idle, _) => Some(account_name(AccountKind::Idle, "")),
        _ => None,
    }
}

struct Merge {
    entries: BTreeMap<EntryKey, [i128; 3]>,
    sources: BTreeMap<String, SourceDescriptor>,
    notes: BTreeSet<MergeNote>,
}

impl Merge {
    fn note(&mut self, code: &str, message: String) {
        self.notes.insert(MergeNote { code: code.to_owned(), message });
    }

    fn add_segment(&mut self, member: &Member, known: &BTreeSet<ChainHash>, name: &dyn Fn(&str) -> String) {
        let replay = &member.replay;
        let counts = |source: &str| !member.excluded.contains(source);
        let carried = &replay.header.carried;
        let previous = crate::journal::encoder::from_hex(&replay.header.previous_hash).unwrap_or_default();
        let continues = replay.header.previous_hash.is_empty() || known.contains(&previous);
        if !continues {
            let total: u128 = carried.entries.iter().map(|entry| entry.nanojoules).sum();
            self.note("WARN_LEDGER_MERGE_PART_MISSING", format!("the part before segment {} of rank {} on host {} is not here; its {total} nJ are taken from that segment's header", replay.header.segment, replay.header.rank, replay.header.host_hash));
        }
        for entry in carried.entries.iter().filter(|entry| continues && counts(&entry.source)) {
            add_difference(&mut self.entries, entry, &name(&entry.source), -1);
        }
        for entry in replay.state.entries.iter().filter(|entry| counts(&entry.source)) {
            add_difference(&mut self.entries, entry, &name(&entry.source), 1);
        }
        for moved in replay.header.rework.iter().filter(|moved| continues && counts(&moved.source)) {
            let Some(target) = rework_target(&moved.account) else { continue };
            let plain = StoredEntry { below: 0, above: 0, ..moved.clone() };
            add_difference(&mut self.entries, &plain, &name(&moved.source), -1);
            add_difference(&mut self.entries, &StoredEntry { account: target, ..plain }, &name(&moved.source), 1);
        }
        for source in &replay.state.sources {
            let id = name(&source.id);
            let parent = source.parent.as_deref().map(name);
            let known = self.sources.entry(id.clone()).or_insert_with(|| SourceDescriptor {
                id,
                parent: parent.clone(),
                state: SourceState::Unavailable,
                ..source.clone()
            });
            // Any rank that counts a source makes it counted; else the first in order of states says why not.
            let better = |state| match state {
                SourceState::Included => 0,
                SourceState::Covered | SourceState::Alias => 1,
                SourceState::ShownOnly => 2,
                SourceState::Unavailable => 3,
            };
            if better(source.state) < better(known.state) {
                *known = SourceDescriptor { id: known.id.clone(), parent, ..source.clone() };
            }
        }
        for finding in &replay.findings {
            self.note(finding.code, format!("{}: {}", member.label(), finding.message));
        }
    }
}

/// Merge the ledgers in `folders`.
///
/// # Errors
/// `ERR_LEDGER_MERGE_CONFLICT` when two copies of a segment differ, showing both records; `ERR_LEDGER_EMPTY` when there
/// is nothing to merge; `ERR_LEDGER_SEGMENT` and `ERR_LEDGER_IO` of reading.
pub fn merge(folders: &[PathBuf]) -> Result<Merged> {
    let mut members = collect(folders)?;
    if members.is_empty() {
        let names: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
        return Err(MeterError::new(
            "ERR_LEDGER_EMPTY",
            format!(
                "no ledger with a commit in {}; give the folders that ranks wrote their energy to",
                names.join(", ")
            ),
        ));
    }
    let mut merge = Merge { entries: BTreeMap::new(), sources: BTreeMap::new(), notes: owners::exclude(&mut members) };
    let known: BTreeSet<ChainHash> = members.iter().flat_map(|member| member.replay.hashes.iter().copied()).collect();
    let hosts: BTreeSet<&str> = members.iter().map(|member| member.key.host.as_str()).collect();
    for member in &members {
        let name = |id: &str| if hosts.len() > 1 { format!("{}/{id}", member.key.host) } else { id.to_owned() };
        merge.add_segment(member, &known, &name);
    }
    let (ranks, gaps, duration) = by_rank(&members, hosts.len() > 1);
    let offsets: BTreeMap<&str, i64> =
        ranks.iter().filter_map(|rank| Some((rank.host.as_str(), rank.clock_offset_ms?))).collect();
    let spread = offsets.values().max().unwrap_or(&0) - offsets.values().min().unwrap_or(&0);
    let step = ranks.iter().map(|rank| rank.clock_step_ms.abs()).max().unwrap_or(0);
    if spread > OFFSET_NOTED_MS {
        merge.note("WARN_LEDGER_CLOCK_OFFSET", format!("clocks of the hosts differ by {spread} ms (limit {OFFSET_NOTED_MS} ms): times of different hosts are not comparable to better than that"));
    }
    if step > OFFSET_NOTED_MS {
        merge.note("WARN_LEDGER_CLOCK_STEP", format!("a wall clock stepped by {step} ms during the run, or the machine slept; energy uses the monotonic clock and is not touched"));
    }
    let runs: BTreeSet<&str> = members.iter().map(|member| member.key.run.as_str()).collect();
    let mut hasher = Sha256::new();
    members.iter().for_each(|member| hasher.update(member.replay.hash));
    let entries = merge.entries.into_iter().filter(|(_, sums)| *sums != [0; 3]).map(|((source, account), sums)| {
        let balance = sums.map(|value| value.max(0) as u128);
        let Balance { nanojoules, below, above } =
            Balance { nanojoules: balance[0], below: balance[1], above: balance[2] };
        StoredEntry { source, account, nanojoules, below: below.min(nanojoules), above }
    });
    Ok(Merged {
        state: LedgerState {
            run_id: runs.into_iter().collect::<Vec<_>>().join("+"),
            segment: members.len() as u32,
            sequence: members.iter().map(|member| member.replay.commits).sum(),
            chain_hash: to_hex(&hasher.finalize().into()),
            duration_nanoseconds: duration,
            sources: merge.sources.into_values().collect(),
            entries: entries.collect(),
            gaps,
            fits: Vec::new(),
        },
        phase_aligned: spread <= OFFSET_REFUSED_MS,
        ranks,
        notes: merge.notes.into_iter().collect(),
    })
}

/// Ranks, gaps of each rank's last state, and the longest rank's metered time. Members come in order of their keys.
fn by_rank(members: &[Member], several_hosts: bool) -> (Vec<MergedRank>, Vec<StoredGap>, u128) {
    let mut ranks: Vec<MergedRank> = Vec::new();
    let mut tips: BTreeMap<(&str, &str, u32), &Member> = BTreeMap::new();
    for member in members {
        let (key, replay) = (&member.key, &member.replay);
        let elapsed_ms = (replay.monotonic_ns.saturating_sub(replay.header.started_monotonic_ns) / 1_000_000) as i64;
        let wall_ms = replay.unix_ms as i64 - replay.header.started_unix_ms as i64;
        let known = ranks
            .iter_mut()
            .rev()
            .find(|rank| (&rank.host, &rank.run_id, rank.rank) == (&key.host, &key.run, key.rank));
        let rank = match known {
            Some(rank) => rank,
            None => {
                ranks.push(MergedRank {
                    host: key.host.clone(),
                    run_id: key.run.clone(),
                    rank: key.rank,
                    segments: 0,
                    commits: 0,
                    samples: 0,
                    started_unix_ms: u64::MAX,
                    ended_unix_ms: 0,
                    clock_offset_ms: None,
                    clock_step_ms: 0,
                });
                let last = ranks.len() - 1;
                &mut ranks[last]
            }
        };
        rank.segments += 1;
        rank.commits += replay.commits;
        rank.samples += replay.samples;
        rank.started_unix_ms = rank.started_unix_ms.min(replay.header.started_unix_ms);
        rank.ended_unix_ms = rank.ended_unix_ms.max(replay.unix_ms);
        rank.clock_offset_ms = replay.header.clock_offset_ms.or(rank.clock_offset_ms);
        if (wall_ms - elapsed_ms).abs() > rank.clock_step_ms.abs() {
            rank.clock_step_ms = wall_ms - elapsed_ms;
        }
        let tip = tips.entry((&key.host, &key.run, key.rank)).or_insert(member);
        if tip.replay.state.sequence <= replay.state.sequence {
            *tip = member;
        }
    }
    let mut gaps = Vec::new();
    let mut duration = 0;
    for ((host, ..), tip) in tips {
        duration = duration.max(tip.replay.state.duration_nanoseconds);
        for gap in &tip.replay.state.gaps {
            let source = match several_hosts && gap.source != "*" {
                true => format!("{host}/{}", gap.source),
                false => gap.source.clone(),
            };
            add_gap(&mut gaps, &source, gap.duration_nanoseconds, &gap.reason);
        }
    }
    (ranks, gaps, duration)
}
