//! Checks a whole folder: every segment on its own, and that each continues the one before it.

use std::path::Path;

use serde::Serialize;

use super::encoder::to_hex;
use super::folder::{SegmentName, segments};
use super::replay::{Finding, Replay, replay_file};
use super::state::LedgerState;
use crate::error::{MeterError, Result};
use crate::source::scope_tree;

/// What the check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Nothing is wrong.
    pub ok: bool,
    /// Segments read.
    pub segments: u64,
    /// Commits read.
    pub commits: u64,
    /// Samples read.
    pub samples: u64,
    /// Bytes behind the last commits.
    pub torn_bytes: u64,
    /// What is wrong.
    pub findings: Vec<Finding>,
}

fn file_name(segment: &SegmentName) -> String {
    segment.path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// Segments of one rank that a crash left without a whole first commit hold nothing and are passed over.
fn readable(path: &Path) -> Result<Option<Replay>> {
    match replay_file(path) {
        Ok(replay) => Ok(Some(replay)),
        Err(error) if error.code == "ERR_LEDGER_SEGMENT" && is_empty_start(path) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A first frame cut short by a crash: the file is shorter than the frame it announces.
fn is_empty_start(path: &Path) -> bool {
    let Ok(bytes) = std::fs::read(path) else {
        return false;
    };
    let announced = bytes.get(..4).map(|length| u32::from_le_bytes([length[0], length[1], length[2], length[3]]));
    announced.is_none_or(|length| (bytes.len() as u64) < u64::from(length) + super::frame::OVERHEAD as u64)
}

/// The last state of a rank and the segment it came from; `None` where the folder holds nothing of that rank.
///
/// # Errors
/// `ERR_LEDGER_IO`, `ERR_LEDGER_SEGMENT`.
pub fn last_replay(folder: &Path, rank: u32) -> Result<Option<Replay>> {
    let own = segments(folder)?.into_iter().filter(|segment| segment.rank == rank);
    for segment in own.rev() {
        // A segment without a commit adds nothing to the one before it.
        if let Some(replay) = readable(&segment.path)?.filter(|replay| replay.commits > 0) {
            return Ok(Some(replay));
        }
    }
    Ok(None)
}

/// What the ledger in `folder` holds.
///
/// # Errors
/// `ERR_LEDGER_EMPTY` when it holds no committed segment of `rank`, and those of [`last_replay`].
pub fn read_state(folder: &Path, rank: u32) -> Result<LedgerState> {
    last_replay(folder, rank)?.map(|replay| replay.state).ok_or_else(|| {
        MeterError::new(
            "ERR_LEDGER_EMPTY",
            format!(
                "no ledger of rank {rank} with a commit in {}; give the folder that a run wrote its energy to",
                folder.display()
            ),
        )
    })
}

fn check_continuation(previous: &Replay, next: &Replay, name: &str, findings: &mut Vec<Finding>) {
    let mut find = |invariant: &'static str, message: String| {
        findings.push(Finding { code: "ERR_LEDGER_CHAIN", invariant, segment: name.to_owned(), message });
    };
    if next.header.previous_hash != to_hex(&previous.hash) {
        find(
            "chain",
            format!(
                "it continues commit {}, but the segment before it ends with {}",
                next.header.previous_hash,
                to_hex(&previous.hash)
            ),
        );
    }
    let carried: u128 = next.header.carried.entries.iter().map(|entry| entry.nanojoules).sum();
    // Rework moves energy between accounts; it neither makes nor loses any.
    let before: u128 = previous.state.entries.iter().map(|entry| entry.nanojoules).sum();
    if carried != before {
        find("I1", format!("it carries {carried} nJ, the segment before it held {before} nJ"));
    }
    if next.header.carried.run_id != previous.state.run_id {
        find(
            "run",
            format!(
                "it belongs to run {}, the segment before it to {}",
                next.header.carried.run_id, previous.state.run_id
            ),
        );
    }
}

/// Check everything in `folder`.
///
/// # Errors
/// `ERR_LEDGER_IO` when files cannot be read; `ERR_LEDGER_EMPTY` when there are none. Damage is a finding, not an error.
pub fn verify(folder: &Path) -> Result<Verification> {
    let names = segments(folder)?;
    if names.is_empty() {
        return Err(MeterError::new("ERR_LEDGER_EMPTY", format!("no ledger segment in {}", folder.display())));
    }
    let mut result =
        Verification { ok: true, segments: 0, commits: 0, samples: 0, torn_bytes: 0, findings: Vec::new() };
    let mut previous: Option<(u32, Replay)> = None;
    for segment in names {
        let name = file_name(&segment);
        let replay = match readable(&segment.path) {
            Ok(Some(replay)) => replay,
            Ok(None) => {
                result.torn_bytes += std::fs::metadata(&segment.path).map_or(0, |file| file.len());
                continue;
            }
            Err(error) if error.code == "ERR_LEDGER_SEGMENT" => {
                result.findings.push(Finding {
                    code: error.code,
                    invariant: "crc",
                    segment: name,
                    message: error.message,
                });
                continue;
            }
            Err(error) => return Err(error),
        };
        result.segments += 1;
        result.commits += replay.commits;
        result.samples += replay.samples;
        result.torn_bytes += replay.torn_bytes;
        result.findings.extend(replay.findings.iter().cloned());
        if let Some((parent, child)) = scope_tree::find_overlap(&replay.state.sources) {
            result.findings.push(Finding {
                code: "ERR_LEDGER_INVARIANT",
                invariant: "I4",
                segment: name.clone(),
                message: format!("{parent} and {child}, which is inside it, are both counted"),
            });
        }
        match &previous {
            Some((rank, before)) if *rank == segment.rank => {
                check_continuation(before, &replay, &name, &mut result.findings)
            }
            _ if !replay.header.previous_hash.is_empty() && replay.header.segment > 1 => {
                result.findings.push(Finding {
                    code: "ERR_LEDGER_CHAIN",
                    invariant: "chain",
                    segment: name,
                    message: "the segment it continues is missing".to_owned(),
                });
            }
            _ => {}
        }
        if replay.commits > 0 {
            previous = Some((segment.rank, replay));
        }
    }
    result.ok = result.findings.is_empty();
    Ok(result)
}
