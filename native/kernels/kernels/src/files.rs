//! Read-only mapped files, from which weights are used without a copy.

use crate::error::{KernelError, Result};
use memmap2::Mmap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// A file mapped read-only for the life of this value.
pub struct MappedFile {
    map: Mmap,
}

impl MappedFile {
    /// Maps `path`.
    ///
    /// # Errors
    /// `ERR_FILE_OPEN` with the operating system's reason; `ERR_FILE_EMPTY` for an empty file.
    pub fn open(path: &Path) -> Result<Arc<Self>> {
        let fail = |error: std::io::Error| {
            KernelError::new("ERR_FILE_OPEN", format!("cannot map {}: {error}", path.display()))
        };
        let file = File::open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.len() == 0 {
            return Err(KernelError::new("ERR_FILE_EMPTY", format!("{} is empty", path.display())));
        }
        // SAFETY: the mapping is private and read-only. A file truncated by another process while it
        // is mapped raises SIGBUS on access, as for every reader of mapped weights; files written by
        // this project are replaced by rename, never truncated in place.
        let map = unsafe { Mmap::map(&file) }.map_err(fail)?;
        // Reading from small pages takes a quarter longer. Only a wish: where the file lies in memory in small pages
        // already, or the system has no large ones, everything works as before.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        Ok(Arc::new(Self { map }))
    }

    /// Says that a region will not be read soon: its pages no longer count as this process's memory, and come back
    /// from the system's cache or the disk when they are read after all.
    pub fn leave(&self, offset: usize, bytes: usize) {
        #[cfg(target_os = "linux")]
        if let Some((start, length)) = whole_pages(offset, bytes, page_size()) {
            // SAFETY: dropping pages of a read-only file mapping loses nothing: a read maps them again.
            let _ = unsafe { self.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, start, length) };
        }
        #[cfg(not(target_os = "linux"))]
        let _ = (offset, bytes);
    }

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}

#[cfg(target_os = "linux")]
fn page_size() -> usize {
    // SAFETY: sysconf reads a constant of the system.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096)
}

/// The pages that lie wholly inside a region, as (offset, length): its neighbours keep theirs.
#[cfg(any(target_os = "linux", test))]
fn whole_pages(offset: usize, bytes: usize, page: usize) -> Option<(usize, usize)> {
    let start = offset.next_multiple_of(page);
    let end = (offset + bytes) / page * page;
    (start < end).then(|| (start, end - start))
}

#[cfg(test)]
mod tests {
    use super::{MappedFile, whole_pages};

    #[test]
    fn only_whole_pages_are_left() {
        assert_eq!(whole_pages(0, 8192, 4096), Some((0, 8192)));
        assert_eq!(whole_pages(1, 8192, 4096), Some((4096, 4096)));
        assert_eq!(whole_pages(4095, 4098, 4096), Some((4096, 4096)));
        assert_eq!(whole_pages(100, 4096, 4096), None);
    }

    #[test]
    fn a_region_that_was_left_leaves_memory_and_reads_the_same() {
        let path = std::env::temp_dir().join(format!("swift-leave-{}", std::process::id()));
        let contents: Vec<u8> = (0..16 << 20).map(|index: usize| (index / 4096 % 251) as u8).collect();
        std::fs::write(&path, &contents).unwrap();
        let file = MappedFile::open(&path).unwrap();
        assert!(file.bytes() == contents);
        let Some(before) = resident_kilobytes(file.bytes()) else {
            println!("SKIPPED: this system does not tell a mapping's resident pages");
            return;
        };
        file.leave(0, contents.len());
        let after = resident_kilobytes(file.bytes()).unwrap();
        // Of this mapping alone: what other tests of the process map meanwhile is not counted.
        assert!(before >= after + (12 << 10), "{before} kB before, {after} kB after");
        assert_eq!(after, 0, "all of it was left");
        assert!(file.bytes() == contents);
        std::fs::remove_file(&path).unwrap();
    }

    /// Resident pages of the mapping that begins where these bytes do.
    fn resident_kilobytes(bytes: &[u8]) -> Option<usize> {
        let maps = std::fs::read_to_string("/proc/self/smaps").ok()?;
        let start = format!("{:08x}-", bytes.as_ptr() as usize);
        let mut lines = maps.lines().skip_while(|line| !line.starts_with(&start));
        let line = lines.find(|line| line.starts_with("Rss:"))?;
        line.split_whitespace().nth(1)?.parse().ok()
    }
}
