//! Where a run continues: from nothing, from the folder's last commit, or from a checkpoint.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::accounts::{AccountKind, account_name};
use crate::clock::unix_milliseconds;
use crate::error::{MeterError, Result};
use crate::journal::encoder::{ChainPosition, from_hex};
use crate::journal::folder::segments;
use crate::journal::state::{LedgerState, NOT_RUNNING, SNAPSHOT_FORMAT, Snapshot, StoredEntry};
use crate::journal::verify::last_replay;

/// How to open a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "from", content = "snapshot")]
pub enum Resume {
    /// Continue the run in the folder, or begin one.
    #[default]
    Auto,
    /// Begin a run; refuse a folder that holds one.
    Never,
    /// Go back to a checkpoint: phase energy after it becomes rework.
    Checkpoint(Snapshot),
}

/// Where a new segment starts.
pub struct Start {
    /// Balances and gaps so far.
    pub carried: LedgerState,
    /// Where the chain stands.
    pub position: ChainPosition,
    /// Number of the new segment.
    pub segment: u32,
    /// What became rework.
    pub rework: Vec<StoredEntry>,
}

fn entry(source: &str, account: String, nanojoules: u128) -> StoredEntry {
    StoredEntry { source: source.to_owned(), account, nanojoules, below: 0, above: 0 }
}

fn add(entries: &mut Vec<StoredEntry>, source: &str, account: String, nanojoules: u128) {
    match entries.iter_mut().find(|entry| entry.source == source && entry.account == account) {
        Some(found) => found.nanojoules += nanojoules,
        None => entries.push(entry(source, account, nanojoules)),
    }
}

/// The phase in which a run waits and computes nothing.
const PAUSE: &str = "pause";

fn is_pause(path: &str) -> bool {
    path.strip_prefix(PAUSE).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Move the phase energy credited after the checkpoint to `rework`, and its idle share to plain `idle`: the work is
/// lost and will be done again, the joules are not. A pause did no work that could be lost. Returns what was moved.
fn book_rework(state: &mut LedgerState, snapshot: &Snapshot) -> Vec<StoredEntry> {
    let mut moved = Vec::new();
    let mut credits: Vec<(String, String, u128)> = Vec::new();
    for current in &mut state.entries {
        let target = match AccountKind::parse(&current.account) {
            Some((AccountKind::Phase | AccountKind::Idle, path)) if is_pause(path) => continue,
            Some((AccountKind::Phase, path)) => account_name(AccountKind::Rework, path),
            Some((AccountKind::Idle, path)) if !path.is_empty() => account_name(AccountKind::Idle, ""),
            _ => continue,
        };
        let then = snapshot
            .entries
            .iter()
            .find(|entry| entry.source == current.source && entry.account == current.account)
            .map_or(0, |entry| entry.nanojoules);
        let lost = current.nanojoules.saturating_sub(then);
        if lost > 0 {
            moved.push(entry(&current.source, current.account.clone(), lost));
            current.nanojoules -= lost;
            current.below = current.below.min(current.nanojoules);
            credits.push((current.source.clone(), target, lost));
        }
    }
    for (source, account, nanojoules) in credits {
        add(&mut state.entries, &source, account, nanojoules);
    }
    moved
}

fn from_snapshot(snapshot: &Snapshot) -> Result<Start> {
    let hash = from_hex(&snapshot.chain_hash).ok_or_else(|| mismatch("its chain hash is malformed".to_owned()))?;
    let carried = LedgerState {
        run_id: snapshot.run_id.clone(),
        segment: 1,
        sequence: snapshot.sequence,
        chain_hash: snapshot.chain_hash.clone(),
        entries: snapshot
            .entries
            .iter()
            .map(|stored| entry(&stored.source, stored.account.clone(), stored.nanojoules))
            .collect(),
        ..LedgerState::default()
    };
    Ok(Start {
        carried,
        position: ChainPosition { next_sequence: snapshot.sequence + 1, hash },
        segment: 1,
        rework: Vec::new(),
    })
}

fn mismatch(what: String) -> MeterError {
    MeterError::new(
        "ERR_LEDGER_SNAPSHOT",
        format!(
            "the checkpoint's energy snapshot does not fit the ledger: {what}; give the folder the checkpoint's run wrote to, or an empty one"
        ),
    )
}

/// Decide where to start in `folder`.
///
/// # Errors
/// `ERR_LEDGER_EXISTS`, `ERR_LEDGER_SNAPSHOT`, and those of reading the folder.
pub fn start(folder: &Path, rank: u32, resume: &Resume, new_run_id: &str) -> Result<Start> {
    let last_number =
        segments(folder)?.iter().filter(|segment| segment.rank == rank).map(|segment| segment.number).max();
    let last = last_replay(folder, rank)?;
    if *resume == Resume::Never && last_number.is_some() {
        return Err(MeterError::new(
            "ERR_LEDGER_EXISTS",
            format!("{} already holds a ledger; use another folder, or resume the run", folder.display()),
        ));
    }
    let Some(last) = last else {
        let segment = last_number.map_or(1, |number| number + 1);
        return match resume {
            Resume::Checkpoint(snapshot) => Ok(Start { segment, ..from_snapshot(snapshot)? }),
            _ => Ok(Start {
                carried: LedgerState { run_id: new_run_id.to_owned(), ..LedgerState::default() },
                position: ChainPosition::default(),
                segment,
                rework: Vec::new(),
            }),
        };
    };
    let mut carried = last.state;
    let mut rework = Vec::new();
    if let Resume::Checkpoint(snapshot) = resume {
        if snapshot.format != SNAPSHOT_FORMAT {
            return Err(mismatch(format!("its format is {:?}, not {SNAPSHOT_FORMAT:?}", snapshot.format)));
        }
        if snapshot.run_id != carried.run_id {
            return Err(mismatch(format!(
                "it belongs to run {}, the folder to run {}",
                snapshot.run_id, carried.run_id
            )));
        }
        if snapshot.sequence > carried.sequence {
            return Err(mismatch(format!(
                "it is from commit {}, the folder ends with commit {}",
                snapshot.sequence, carried.sequence
            )));
        }
        rework = book_rework(&mut carried, snapshot);
    }
    let silence_ms = unix_milliseconds().saturating_sub(last.unix_ms);
    carried.add_gap("*", u128::from(silence_ms) * 1_000_000, NOT_RUNNING);
    Ok(Start {
        carried,
        position: ChainPosition { next_sequence: last.next_sequence, hash: last.hash },
        segment: last_number.unwrap_or(0) + 1,
        rework,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_after_the_checkpoint_becomes_rework_and_nothing_is_lost() {
        let mut state = LedgerState {
            entries: vec![
                entry("a", "phase/train".to_owned(), 100),
                entry("a", "idle/train".to_owned(), 40),
                entry("a", "other_tenants".to_owned(), 7),
                entry("a", "phase/new".to_owned(), 5),
                entry("a", "phase/pause".to_owned(), 11),
                entry("a", "idle/pause".to_owned(), 13),
                entry("a", "phase/pauses".to_owned(), 3),
            ],
            ..LedgerState::default()
        };
        let snapshot = Snapshot {
            format: SNAPSHOT_FORMAT.to_owned(),
            run_id: String::new(),
            segment: 1,
            sequence: 1,
            chain_hash: String::new(),
            entries: vec![
                crate::journal::state::SnapshotEntry {
                    source: "a".to_owned(),
                    account: "phase/train".to_owned(),
                    nanojoules: 60,
                },
                crate::journal::state::SnapshotEntry {
                    source: "a".to_owned(),
                    account: "idle/train".to_owned(),
                    nanojoules: 30,
                },
            ],
        };
        let moved = book_rework(&mut state, &snapshot);
        assert_eq!(moved.len(), 4);
        assert_eq!(state.nanojoules("a", "phase/train"), 60);
        assert_eq!(state.nanojoules("a", "rework/train"), 40);
        assert_eq!(state.nanojoules("a", "rework/new"), 5);
        assert_eq!(state.nanojoules("a", "idle"), 10);
        assert_eq!(state.nanojoules("a", "other_tenants"), 7);
        // Who waited lost nothing.
        assert_eq!((state.nanojoules("a", "phase/pause"), state.nanojoules("a", "idle/pause")), (11, 13));
        assert_eq!(state.nanojoules("a", "rework/pauses"), 3);
        assert_eq!(state.entries.iter().map(|entry| entry.nanojoules).sum::<u128>(), 179);
    }
}
