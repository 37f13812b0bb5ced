//! Coded errors of the meter.

/// An error with a stable code; the message says what was asked, what was found and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {message}")]
pub struct MeterError {
    /// Stable code, `ERR_ENERGY_…` or `ERR_LEDGER_…`.
    pub code: &'static str,
    /// Text for a person.
    pub message: String,
}

impl MeterError {
    /// Make an error from its code and message.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// An input/output failure on a ledger file.
    pub fn io(action: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(
            "ERR_LEDGER_IO",
            format!(
                "could not {action} {}: {error}. Check that the folder exists, is writable and has space left.",
                path.display()
            ),
        )
    }
}

/// Result of a meter call.
pub type Result<T> = std::result::Result<T, MeterError>;
