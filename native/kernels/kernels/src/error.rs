//! Coded errors of the kernel crate.

use std::fmt;

/// An error with a stable code. `message` says what was asked, what was found and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelError {
    /// Stable, machine-readable code such as `ERR_SHAPE_MISMATCH`.
    pub code: &'static str,
    /// Human-readable explanation.
    pub message: String,
}

impl KernelError {
    /// Builds an error from its code and message.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// `ERR_SHAPE_MISMATCH`: operands whose shapes do not fit the op.
    pub fn shape(op: &str, detail: impl fmt::Display) -> Self {
        Self::new("ERR_SHAPE_MISMATCH", format!("{op}: {detail}"))
    }

    /// `ERR_DTYPE_MISMATCH`: an operand whose dtype the op does not take.
    pub fn dtype(op: &str, detail: impl fmt::Display) -> Self {
        Self::new("ERR_DTYPE_MISMATCH", format!("{op}: {detail}"))
    }

    /// `ERR_INVALID_ARGUMENT`: an attribute outside its domain.
    pub fn argument(op: &str, detail: impl fmt::Display) -> Self {
        Self::new("ERR_INVALID_ARGUMENT", format!("{op}: {detail}"))
    }
}

impl fmt::Display for KernelError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.code, self.message)
    }
}

impl std::error::Error for KernelError {}

/// Result alias of the crate.
pub type Result<T> = std::result::Result<T, KernelError>;
