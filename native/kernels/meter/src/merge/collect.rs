//! Finds the segments to merge, and makes sure that copies of one segment agree.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::error::{MeterError, Result};
use crate::journal::commit::{Commit, read_samples};
use crate::journal::folder::segments;
use crate::journal::frame::{self, Frame, FrameKind};
use crate::journal::replay::{Replay, replay};
use crate::journal::state::Header;

/// What makes a segment itself.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentKey {
    /// Host.
    pub host: String,
    /// Run.
    pub run: String,
    /// Rank.
    pub rank: u32,
    /// Sequence number of its first frame.
    pub sequence: u64,
    /// Number.
    pub segment: u32,
    /// Boot.
    pub boot: String,
}

/// A segment of the merge.
pub struct Member {
    /// What it is.
    pub key: SegmentKey,
    /// What it holds.
    pub replay: Replay,
    /// Sources that it does not count, because a lower rank does.
    pub excluded: BTreeSet<String>,
}

impl Member {
    /// Name for a person, the same wherever the file lies.
    pub fn label(&self) -> String {
        format!("segment {} of rank {} on host {}", self.key.segment, self.key.rank, self.key.host)
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}

/// The key of a segment's bytes; `None` for one that a crash left without a whole first frame.
fn key_of(bytes: &[u8], path: &Path) -> Result<Option<SegmentKey>> {
    let Some(first) = frame::read(bytes).filter(|first| first.kind == FrameKind::Header) else {
        let announced = bytes.get(..4).map(|length| u32::from_le_bytes([length[0], length[1], length[2], length[3]]));
        if announced.is_none_or(|length| bytes.len() < length as usize + frame::OVERHEAD) {
            return Ok(None);
        }
        // The replay's error says what is wrong.
        return replay(bytes, &file_name(path)).map(|_| None);
    };
    let header: Header = serde_json::from_slice(first.payload).map_err(|error| {
        MeterError::new(
            "ERR_LEDGER_SEGMENT",
            format!("segment {} cannot be read: {error}; move it away or restore it from a copy", path.display()),
        )
    })?;
    Ok(Some(SegmentKey {
        host: header.host_hash,
        run: header.carried.run_id,
        rank: header.rank,
        sequence: first.sequence,
        segment: header.segment,
        boot: header.boot_hash,
    }))
}

/// All different segments in `folders`, in the order of their keys.
pub fn collect(folders: &[PathBuf]) -> Result<Vec<Member>> {
    let mut copies: BTreeMap<SegmentKey, (Vec<u8>, PathBuf)> = BTreeMap::new();
    let mut paths: Vec<PathBuf> = Vec::new();
    for folder in folders {
        if !folder.exists() {
            let what =
                format!("there is no folder {}; give the folders that ranks wrote their energy to", folder.display());
            return Err(MeterError::new("ERR_LEDGER_EMPTY", what));
        }
        paths.extend(segments(folder)?.into_iter().map(|segment| segment.path));
    }
    // Errors must not depend on the order in which folders are named either.
    paths.sort();
    paths.dedup();
    for path in paths {
        let bytes = std::fs::read(&path).map_err(|error| MeterError::io("read", &path, &error))?;
        let Some(key) = key_of(&bytes, &path)? else { continue };
        match copies.get_mut(&key) {
            None => {
                copies.insert(key, (bytes, path));
            }
            Some((known, known_path)) => {
                let agree = agree(known, known_path, &bytes, &path)?;
                // Where one is damaged, the copy with more whole commits counts.
                let commits = |bytes: &[u8]| replay(bytes, "copy").map_or(0, |replay| replay.commits);
                if if agree { bytes.len() > known.len() } else { commits(&bytes) > commits(known) } {
                    (*known, *known_path) = (bytes, path);
                }
            }
        }
    }
    let mut members = Vec::with_capacity(copies.len());
    for (key, (bytes, path)) in copies {
        let replay = replay(&bytes, &file_name(&path))?;
        if replay.commits > 0 {
            members.push(Member { key, replay, excluded: BTreeSet::new() });
        }
    }
    Ok(members)
}

/// Whether copies agree as far as the shorter goes; `false` when one of them is damaged, an error when both are whole and
/// differ.
fn agree(left: &[u8], left_path: &Path, right: &[u8], right_path: &Path) -> Result<bool> {
    let shared = left.len().min(right.len());
    if left[..shared] == right[..shared] {
        return Ok(true);
    }
    let mut offset = 0;
    loop {
        let (a, b) = (frame::read(&left[offset..]), frame::read(&right[offset..]));
        match (a, b) {
            (Some(a), Some(b)) if a.bytes == b.bytes => offset += a.bytes.len(),
            (Some(a), Some(b)) => {
                return Err(MeterError::new(
                    "ERR_LEDGER_MERGE_CONFLICT",
                    format!(
                        "two copies of one record differ: {} holds {}, {} holds {}; one of them was changed after it was written: remove the wrong file and merge again",
                        left_path.display(),
                        describe(&a),
                        right_path.display(),
                        describe(&b)
                    ),
                ));
            }
            _ => return Ok(false),
        }
    }
}

fn describe(frame: &Frame<'_>) -> String {
    let content = match frame.kind {
        FrameKind::Samples => read_samples(frame.payload).map(|samples| {
            let counts: u128 = samples.iter().filter(|sample| sample.kind.counts()).map(|sample| sample.delta).sum();
            format!("{} samples of {counts} counts", samples.len())
        }),
        FrameKind::Commit => Commit::read(frame.payload).map(|commit| {
            let total: u128 = commit.totals.iter().map(|total| total.nanojoules).sum();
            format!("a commit of {total} nJ")
        }),
        _ => std::str::from_utf8(frame.payload).ok().map(|text| text.chars().take(120).collect()),
    };
    format!("record {} ({:?}: {})", frame.sequence, frame.kind, content.unwrap_or_else(|| "unreadable".to_owned()))
}
