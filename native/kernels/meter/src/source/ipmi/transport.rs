//! One command to the management controller and its answer. The OpenIPMI device of Linux is one way; tests have another.

use std::time::Duration;

/// How a command reaches the controller.
pub trait Transport: Send {
    /// Send a command and wait for its answer, completion code first.
    ///
    /// # Errors
    /// The reason as text, with its code.
    fn exchange(&mut self, netfn: u8, command: u8, data: &[u8], timeout: Duration) -> Result<Vec<u8>, String>;
}

/// A file that exists and cannot be opened, and what to do about it.
pub fn open_failure(path: &std::path::Path, error: &std::io::Error) -> String {
    if error.kind() != std::io::ErrorKind::PermissionDenied {
        return format!("ERR_ENERGY_IPMI_DEVICE: {} cannot be opened: {error}", path.display());
    }
    format!("ERR_ENERGY_IPMI_PERMISSION: {} is readable by root only: permission denied", path.display())
}
