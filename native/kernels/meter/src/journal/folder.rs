//! The folder of a ledger: names of segments, and the lock that keeps two writers apart.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use crate::error::{MeterError, Result};

/// Ending of a segment's name.
const ENDING: &str = ".swj";

/// A segment file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentName {
    /// Rank of the writer.
    pub rank: u32,
    /// Its number.
    pub number: u32,
    /// Where it lies.
    pub path: PathBuf,
}

/// File name of a segment.
pub fn segment_file(host: &str, boot: &str, rank: u32, number: u32) -> String {
    format!("joules-{host}-{boot}-{rank}-{number:06}{ENDING}")
}

fn parse(path: PathBuf) -> Option<SegmentName> {
    let name = path.file_name()?.to_str()?.strip_prefix("joules-")?.strip_suffix(ENDING)?;
    let mut parts = name.rsplit('-');
    let number = parts.next()?.parse().ok()?;
    let rank = parts.next()?.parse().ok()?;
    Some(SegmentName { rank, number, path })
}

/// All segments of a folder by rank and number; empty where the folder does not exist.
///
/// # Errors
/// `ERR_LEDGER_IO` when it exists and cannot be read.
pub fn segments(folder: &Path) -> Result<Vec<SegmentName>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = std::fs::read_dir(folder).map_err(|error| MeterError::io("list", folder, &error))?;
    let mut found: Vec<SegmentName> = entries.filter_map(|entry| parse(entry.ok()?.path())).collect();
    found.sort();
    Ok(found)
}

/// Held while a ledger writes to a folder; the kernel lets go of it however the process ends.
#[derive(Debug)]
pub struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Take the lock of `rank` in `folder`.
    ///
    /// # Errors
    /// `ERR_LEDGER_LOCKED` when another ledger writes there, `ERR_LEDGER_IO` when the lock file cannot be made.
    pub fn take(folder: &Path, rank: u32) -> Result<Self> {
        let name = format!("rank-{rank}.lock");
        Self::try_take(folder, &name)?.ok_or_else(|| {
            MeterError::new(
                "ERR_LEDGER_LOCKED",
                format!(
                    "another ledger writes to {} (lock {name}); use another folder, or close that one",
                    folder.display()
                ),
            )
        })
    }

    /// Take the lock called `name`; `None` when another holds it.
    ///
    /// # Errors
    /// `ERR_LEDGER_IO` when the lock file cannot be made.
    pub fn try_take(folder: &Path, name: &str) -> Result<Option<Self>> {
        let path = folder.join(name);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(|error| MeterError::io("open the lock", &path, &error))?;
        // SAFETY: the descriptor is open for the length of the call; flock has no memory effects.
        let status = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        Ok((status == 0).then_some(Self { _file: file }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_segments_and_refuses_a_second_writer() {
        let folder = crate::test_folder("folder");
        for name in [
            segment_file("a-b", "c", 0, 10),
            segment_file("a", "c", 0, 9),
            segment_file("a", "c", 1, 1),
            "notes.txt".to_owned(),
        ] {
            std::fs::write(folder.join(name), "").unwrap();
        }
        let numbers: Vec<_> = segments(&folder).unwrap().iter().map(|name| (name.rank, name.number)).collect();
        assert_eq!(numbers, [(0, 9), (0, 10), (1, 1)]);
        let lock = FolderLock::take(&folder, 0).unwrap();
        assert_eq!(FolderLock::take(&folder, 0).unwrap_err().code, "ERR_LEDGER_LOCKED");
        drop(lock);
        FolderLock::take(&folder, 0).unwrap();
    }
}
