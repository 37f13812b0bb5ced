//! Vendors' libraries, opened at run time: nothing of theirs is needed to build or to start.

use std::ffi::{CStr, CString, c_void};
use std::path::Path;

/// An opened library. It is never closed: drivers do not all survive that.
#[derive(Clone, Copy)]
pub struct Dynamic {
    handle: *mut c_void,
}

// SAFETY: the handle is only used to look symbols up, which dlsym does from any thread.
unsafe impl Send for Dynamic {}
// SAFETY: as above.
unsafe impl Sync for Dynamic {}

impl Dynamic {
    /// Open a library by path, or by name where the system's search finds it.
    ///
    /// # Errors
    /// The loader's reason as text.
    pub fn open(path: &Path) -> Result<Self, String> {
        let name =
            CString::new(path.as_os_str().as_encoded_bytes()).map_err(|_| "a path with a zero byte".to_owned())?;
        // SAFETY: the name is a C string; loading runs the library's initialisers, which is what opening it means.
        let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        if handle.is_null() {
            // SAFETY: dlerror gives null or a C string valid until the next call on this thread.
            let reason = unsafe {
                let text = libc::dlerror();
                if text.is_null() { "unknown".into() } else { CStr::from_ptr(text).to_string_lossy() }
            };
            return Err(format!("{} cannot be opened: {reason}", path.display()));
        }
        Ok(Self { handle })
    }

    /// A symbol by name.
    ///
    /// # Errors
    /// That this version of the library lacks it.
    pub fn symbol(&self, name: &str) -> Result<*mut c_void, String> {
        let text = CString::new(name).map_err(|_| "a symbol with a zero byte".to_owned())?;
        // SAFETY: the handle is open and the name is a C string.
        let symbol = unsafe { libc::dlsym(self.handle, text.as_ptr()) };
        if symbol.is_null() { Err(format!("{name}: not in this version of the library")) } else { Ok(symbol) }
    }
}
