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

    /// The bytes of the file.
    pub fn bytes(&self) -> &[u8] {
        &self.map
    }
}
