//! Mapped files for weights.

use napi::bindgen_prelude::*;
use napi_derive::napi;
use std::path::Path;
use std::sync::Arc;
use swift_kernels::files::MappedFile;

/// A file mapped read-only until this object is collected and no tensor uses it.
#[napi]
pub struct NativeFile {
    pub(crate) file: Arc<MappedFile>,
}

#[napi]
impl NativeFile {
    /// Maps a file. Throws `ERR_FILE_OPEN` or `ERR_FILE_EMPTY`.
    #[napi(constructor)]
    pub fn open(path: String) -> Result<Self> {
        let file = MappedFile::open(Path::new(&path)).map_err(crate::compute::to_napi)?;
        Ok(Self { file })
    }

    /// Length in bytes.
    #[napi(getter)]
    pub fn length(&self) -> f64 {
        self.file.bytes().len() as f64
    }

    /// A copy of `length` bytes from `start`, clipped to the file.
    #[napi]
    pub fn slice(&self, start: f64, length: f64) -> Uint8Array {
        let bytes = self.file.bytes();
        let start = (start.max(0.0) as usize).min(bytes.len());
        let end = start.saturating_add(length.max(0.0) as usize).min(bytes.len());
        Uint8Array::new(bytes[start..end].to_vec())
    }
}
